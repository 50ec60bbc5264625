"""The gate: who makes a call, asked of the authenticators once for each credential.

`server.dispatch` asks when a call's headers are there, and `edge.network` for calls of a host's own grpclib server.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from multidict import MultiDict

from stigmer.access.asking import asked, fault_of
from stigmer.access.credentials import LOCAL_CALLER, Credentials, Identity
from stigmer.access.failures import Failures
from stigmer.access.peers import is_local
from stigmer.access.principal import checked
from stigmer.errors import StigmerError, Unauthenticated, Unavailable
from stigmer.telemetry.logs import Seldom, get_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stigmer.access.credentials import Authenticator, Peer
    from stigmer.access.principal import Principal

log = get_logger("stigmer.access.gate")

MOST_KNOWN = 10_000
"""So many identities are kept, each for a credential and a peer."""
ANSWER_S = 5.0
"""How long the authenticators may take for one call."""

_NONE = "no credentials"
_OTHER = "the credentials that came are of no sort that this server takes"
_BAD = "the credentials are not good"
_ENDED = "the credentials that this call came with have expired or were revoked"
_AWAY = "whoever could tell who calls does not answer: try again"
_LOCAL_ALONE = "callers of this machine alone are served: give the server --tokens-file, or another way to know callers"

_BEARS = "authorization"

_Key: TypeAlias = "tuple[bytes, Peer]"


class Gate:
    """Knows who calls.

    Args:
        authenticators: in the order in which they are asked. Without any, callers on this machine are `local`.
        anonymous: without any, all others are `local` as well.

    Raises:
        ValueError: an authenticator names its headers in a way that none would be found by.

    Attributes:
        failures: how long refusals are held back.
    """

    def __init__(self, authenticators: Sequence[Authenticator] = (), *, anonymous: bool = False) -> None:
        self._authenticators = tuple(authenticators)
        self._anonymous = anonymous
        self._headers = sorted({name for one in authenticators for name in _headers_of(one)})
        self._uid = os.geteuid()
        self._known: dict[_Key, Identity] = {}
        self._complaints = Seldom()
        self.failures = Failures()

    def __repr__(self) -> str:
        return f"<Gate of {', '.join(self.takes) or 'this machine'}, {len(self._known)} known>"

    @property
    def asks(self) -> bool:
        """Whether callers need credentials."""
        return bool(self._authenticators)

    @property
    def takes(self) -> tuple[str, ...]:
        """The sorts of credentials that are taken."""
        return tuple(dict.fromkeys(one.takes for one in self._authenticators))

    def known(self, credentials: Credentials) -> Identity | None:
        """Who calls, where that is known without asking anybody; waits for nothing."""
        peer = credentials.peer
        if not self._authenticators:
            return LOCAL_CALLER if self._anonymous or is_local(peer.address) else None
        if peer.uid is not None and peer.uid == self._uid:
            return LOCAL_CALLER
        key = self._key(credentials)
        identity = self._known.get(key)
        if identity is not None and not _holds(identity):
            del self._known[key]
            return None
        return identity

    async def authenticate(self, credentials: Credentials) -> Identity:
        """Ask the authenticators who calls.

        Raises:
            Unauthenticated: nobody knows; it tells what would be taken, and nothing of what came.
            Unavailable: an authenticator fails, or says nothing for too long.
        """
        answer = await self._answer(credentials)
        if isinstance(answer, StigmerError):
            raise answer  # not within an `except`: what an authenticator raised may hold a credential
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[self._key(credentials)] = answer
        return answer

    def still(self, identity: Identity) -> Principal | StigmerError:
        """Who calls by the same credential now; why it is not good any more, where it is not."""
        try:
            return identity.still()
        except Unauthenticated:
            return self._refusal(_ENDED)
        except Exception as error:  # noqa: BLE001  # a host's own: whatever it raises is no yes
            self._complain("A credential cannot be looked at again", error)
            return Unavailable(_AWAY)

    async def admit(self, credentials: Credentials) -> Identity:
        """As `authenticate`, of whom is not known; a refusal is held back as `failures` says."""
        identity = self.known(credentials)
        if identity is not None:
            return identity
        try:
            return await self.authenticate(credentials)
        except Unauthenticated:
            await asyncio.sleep(self.failures.delay_s(credentials.peer))
            raise

    def _key(self, credentials: Credentials) -> _Key:
        """What an answer holds for, without the credential itself."""
        shown = [credentials.metadata.getall(name, ()) for name in self._headers]
        return sha256(repr(shown).encode()).digest(), credentials.peer

    async def _answer(self, credentials: Credentials) -> Identity | StigmerError:
        shown = self._shown(credentials)
        for authenticator in self._authenticators:
            if _BEARS in shown.metadata and not authenticator.headers:
                continue  # who brings a credential, if a wrong one, is not whoever the connection is of
            answer = await self._asked(authenticator, shown)
            if answer is not None:
                return answer
        return self._refusal(_OTHER if shown.metadata else _NONE)

    def _shown(self, credentials: Credentials) -> Credentials:
        found = [(name, value) for name in self._headers for value in credentials.metadata.getall(name, ())]
        return Credentials(MultiDict(found), credentials.peer)

    async def _asked(self, authenticator: Authenticator, shown: Credentials) -> Identity | StigmerError | None:
        answer = await asked(partial(authenticator.authenticate, shown), ANSWER_S)
        if answer is None:
            return self._failed(authenticator, TimeoutError())
        match fault_of(answer):
            case None:
                identity = answer.result()
                return None if identity is None else self._checked(authenticator, identity)
            case Unauthenticated(message=why):
                return self._refusal(_BAD if _tells(why, shown) else why)
            case Unavailable(message=why):
                return Unavailable(_AWAY if _tells(why, shown) else why)
            case error:
                return self._failed(authenticator, error)

    def _checked(self, authenticator: Authenticator, identity: Identity) -> Identity | StigmerError:
        """The identity, unless it is none, or nobody may be that."""
        takes = authenticator.takes
        if not isinstance(identity, Identity):  # pyright: ignore[reportUnnecessaryIsInstance]  # of a host's own code
            log.error("An authenticator answers no stigmer.Identity", answer=type(identity).__name__, takes=takes)
            return Unavailable(_AWAY)
        try:
            checked(identity.principal)
        except ValueError as error:
            why = str(error)
        else:
            return identity
        log.error("An authenticator gives a principal that nobody may be", why=why, takes=takes)
        return self._refusal(_BAD)

    def _failed(self, authenticator: Authenticator, error: BaseException) -> Unavailable:
        self._complain(f"The authenticator of a {authenticator.takes} fails", error)
        return Unavailable(_AWAY)

    def _complain(self, what: str, error: BaseException) -> None:
        """Tell of a fault: its class and place alone, because its text may hold the credential."""
        if self._complaints.now():
            log.error(what, error=type(error).__name__, at=_place(error))

    def _refusal(self, why: str) -> Unauthenticated:
        if not self._authenticators:
            return Unauthenticated(_LOCAL_ALONE)
        ways = dict.fromkeys(map(_way, self._authenticators))
        return Unauthenticated(f"{why}; send one of: {', '.join(ways)}", takes=self.takes)


def _headers_of(authenticator: Authenticator) -> Collection[str]:
    """The headers that it reads. Raises ValueError for names that no call's metadata has."""
    names = authenticator.headers
    if isinstance(names, str) or any(name != name.lower() for name in names):
        raise ValueError(
            f"the authenticator of a {authenticator.takes} has headers = {names!r}: give a tuple, lower case"
        )
    return names


def _holds(identity: Identity) -> bool:
    """Whether the credential still says the same; else the authenticators are asked again."""
    try:
        return identity.still() == identity.principal
    except Exception:  # noqa: BLE001  # Unauthenticated, or a fault of a host's own: asked again, it is told of
        return False


def _tells(message: str, shown: Credentials) -> bool:
    """Whether a text holds a part of the credentials."""
    words = [word for value in shown.metadata.values() if isinstance(value, str) for word in value.split()]
    return any(word in message for word in words if len(word) > len("Bearer"))


def _place(error: BaseException) -> str:
    """Where it was raised: `file:line`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _way(authenticator: Authenticator) -> str:
    """A sort of credentials, and where it goes."""
    names = " or ".join(f"'{name}'" for name in authenticator.headers)
    return f"{authenticator.takes} (header {names})" if names else authenticator.takes
