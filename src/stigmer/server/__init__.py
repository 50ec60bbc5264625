"""The port alone: gRPC over HTTP/2 within limits, health and reflection. `listening` makes one of the settings."""
