"""What one domain may ask of another's kind, over a channel: the loopback, or a network's with no change here.

A call inherits request id, trace and deadline of the call that makes it, and nothing else of its metadata. Over the
loopback it also inherits the caller, and joins the caller's transaction.
"""

from stigmer.downstream.client import ResourceClient
from stigmer.downstream.session import SessionClient

__all__ = ["ResourceClient", "SessionClient"]
