"""HTTP/2 as a gRPC server needs it: what grpclib and h2 lack, in subclasses that a host's own servers do not see."""
