"""What a call brings to show who makes it, and what was found of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stigmer.access.principal import LOCAL, Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from multidict import MultiDict


class Certificate(NamedTuple):
    """A client certificate that TLS has verified.

    Attributes:
        der: all of it.
        subjects: its alternative names, as OpenSSL writes them: `URI:spiffe://acme/runner`, `DNS:runner.acme.example`.
        ends_s: when it expires, in seconds since 1970.
    """

    der: bytes
    subjects: tuple[str, ...]
    ends_s: float


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        address: the host alone, without a port; `unix` for a Unix socket.
        uid: the user of the process at the other end of a Unix socket; None elsewhere.
        certificate: the client certificate that it showed; None where there is none.
    """

    address: str
    uid: int | None = None
    certificate: Certificate | None = None


class Credentials(NamedTuple):
    """What a call brings: its headers, as metadata, and who sent them. An authenticator sees the headers it names."""

    metadata: MultiDict[str | bytes]
    peer: Peer

    @property
    def bearer(self) -> str | None:
        """What `authorization: Bearer …` holds; None without such a header, and where there are two of them."""
        headers = self.metadata.getall("authorization", ())
        if len(headers) != 1 or not isinstance(header := headers[0], str):
            return None
        scheme, _, bearer = header.strip().partition(" ")
        return bearer.strip() or None if scheme.lower() == "bearer" else None


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


LOCAL_CALLER = Identity(LOCAL, lambda: LOCAL)
"""Who calls from this machine where nobody says who it is, or by a Unix socket as the server's own user."""
NOBODY = Identity(nobody := Principal("", "reader", frozenset()), lambda: nobody)
"""Who calls what needs no credentials: the health service."""


class Authenticator(Protocol):
    """Knows callers by one sort of credentials. A host may add its own; `gate` asks each in turn."""

    @property
    def takes(self) -> str:
        """The sort, as a refused caller reads it: `bearer token`."""
        ...

    @property
    def headers(self) -> Collection[str]:
        """The headers that it reads, in lower case, and may depend on: it sees no others.

        Who reads none is not asked of a call with an `authorization` header that another authenticator reads.

        An answer holds for every call that brings the same ones by the same peer, as long as its identity does.
        """
        ...

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        """Who calls; None where the credentials are not of this sort, so that the next authenticator is asked.

        It may wait for others, not hold up the loop. No credential may be part of what it raises or logs.

        Raises:
            Unauthenticated: they are, and are not good; no other authenticator is asked.
            Unavailable: whoever could tell does not answer.
        """
        ...
