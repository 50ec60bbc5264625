"""Stigmer: a control plane for AI agents, served over gRPC and in process."""
