"""What a call can end with, as one of `stigmer.errors`: neither gRPC's nor the network's exceptions come out."""

from __future__ import annotations

import ssl

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from stigmer.errors import DeadlineExceeded, StigmerError, Unavailable
from stigmer.rpc import error_of


def failure_of(error: Exception, server: object) -> StigmerError | None:
    """The failure that an exception of a call tells of; None where it is a fault of the program.

    Args:
        error: what the stub raised.
        server: whom the call was for, in words.
    """
    if isinstance(error, GRPCError):
        return error_of(error)
    if isinstance(error, StigmerError):
        return error
    if isinstance(error, TimeoutError) and error.errno is None:
        return DeadlineExceeded("the deadline passed before the server answered: allow more time by timeout_s")
    reason = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLError):
        return Unavailable(f"{server}: TLS failed ({reason}): check authorities and certificates", retry_after_s=None)
    if isinstance(error, OSError):
        return Unavailable(
            f"{server} cannot be reached ({reason}): is a server there? `stigmer serve` starts one", retry_after_s=0.0
        )
    is_of_connection = isinstance(error, ProtocolError | StreamTerminatedError) or _is_of_the_connection(error)
    return (
        Unavailable(f"the connection to {server} was lost: {reason}", retry_after_s=0.0) if is_of_connection else None
    )


def _is_of_the_connection(error: Exception) -> bool:
    """Whether grpclib or h2 met a connection that ended under it; the latter is imported by nobody without one."""
    from h2.exceptions import H2Error  # noqa: PLC0415 - see above

    return isinstance(error, H2Error) or _tells_of_an_end(error)


def _tells_of_an_end(error: Exception) -> bool:
    """Whether it is what grpclib raises for want of a check.

    A connection that its keepalive has closed has no transport any more, and is taken for open until the loop has told
    of its end; a message may be cut off where a proxy ends the stream as if it were whole.
    """
    if isinstance(error, AttributeError):
        return error.name == "_transport"
    return isinstance(error, AssertionError) and "Received less data" in str(error)
