"""`stigmer verify-secrets`: uses a server in every way, and searches all that it leaves behind for secret values."""
