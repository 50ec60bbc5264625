"""What a call brings to show who makes it, and what was found of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiDict

    from stigmer.access.principal import Principal


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        address: the host alone, without a port; `unix` for a Unix socket.
        uid: the user of the process at the other end of a Unix socket; None elsewhere.
        certificate: the client certificate that TLS has verified, in DER; None where there is none.
    """

    address: str
    uid: int | None = None
    certificate: bytes | None = None


class Credentials(NamedTuple):
    """What a call brings: its headers, as metadata, and who sent them."""

    metadata: MultiDict[str | bytes]
    peer: Peer


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a call, and how that is known.

    Attributes:
        principal: who calls.
        still: who calls by the same credential now; raises Unauthenticated once it has expired or was revoked. Costs
            little and waits for nothing: open streams ask every few seconds, unary calls when one is used again.
    """

    principal: Principal
    still: Callable[[], Principal]


class Authenticator(Protocol):
    """Knows callers by one sort of credentials. A host may add its own."""

    @property
    def takes(self) -> str:
        """The sort, as a refused caller reads it: `bearer token`."""
        ...

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Who calls; None where the credentials are not of this sort, so that the next authenticator is asked.

        Raises:
            Unauthenticated: they are, and are not good.
            Unavailable: whoever could tell does not answer.
        """
        ...
