"""Data keys wrapped by a key service, such as a cloud's or a transit API, so that this process has no key of its own.

`embedded(…, key_service=…)` takes one; docs/secrets.md has an example.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol, TypeVar

from stigmer.errors import Unavailable
from stigmer.secrets.cipher import KEY_BYTES, NotOpened
from stigmer.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

LIMIT_S = 5.0
"""How long the service may take to answer."""
MOST_KEYS = 10_000
"""So many data keys are remembered, for the resources used last."""

_PROOF = b"stigmer key proof"

log = get_logger("stigmer.secrets.key_service")


class KeyService(Protocol):
    """A host's hook to its key service.

    Whatever its methods raise counts as the service not answering, and makes the call UNAVAILABLE.
    """

    @property
    def key_id(self) -> str:
        """Which key `wrap` uses now, with its version where the service counts them: another id means rotation."""
        ...

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The 32 bytes of a data key, encrypted by the service, and bound to the context where it can bind."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes | None:
        """The data key of what `wrap` gave for the same context, by whichever key that was.

        None where the service answers that what is wrapped, or its context, is not right: DATA_LOSS.
        """
        ...


class ServiceKeys:
    """A key service as what wraps data keys; a `sealing.KeyWrapper`.

    Args:
        service: the host's.
        limit_s: seconds that it may take to answer.
        most_keys: how many unwrapped data keys are remembered.
    """

    def __init__(self, service: KeyService, *, limit_s: float = LIMIT_S, most_keys: int = MOST_KEYS) -> None:
        self._service, self._limit_s, self._most_keys = service, limit_s, most_keys
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<ServiceKeys under {self.active}, {len(self._known)} remembered>"

    @property
    def active(self) -> str:
        """The id of the key that wraps now."""
        return self._service.key_id

    async def wrap(self, key_id: str, data_key: bytes, associated: bytes) -> bytes:
        """The data key, wrapped by the service. Raises Unavailable, also where it has changed to another key."""
        wrapped = await self._answer(self._service.wrap(data_key, associated))
        if self._service.key_id != key_id:
            raise Unavailable("the key service has just changed its key: try again")
        self._remember(_name_of(wrapped, associated), data_key)
        return wrapped

    async def unwrap(self, key_id: str, wrapped: bytes, associated: bytes) -> bytes:  # noqa: ARG002 - it is in `associated`
        """The data key, remembered or asked for. Raises NotOpened, Unavailable."""
        name = _name_of(wrapped, associated)
        if (known := self._known.get(name)) is not None:
            self._known.move_to_end(name)
            return known
        data_key = await self._answer(self._service.unwrap(wrapped, associated))
        if data_key is None or len(data_key) != KEY_BYTES:
            raise NotOpened
        self._remember(name, data_key)
        return data_key

    async def proof(self, key_id: str) -> bytes:
        """A key that nothing is sealed under, wrapped by the service. Raises Unavailable."""
        return await self.wrap(key_id, os.urandom(KEY_BYTES), _PROOF)

    async def proves(self, key_id: str, proof: bytes) -> bool:
        """Whether the service opens it. Raises Unavailable."""
        try:
            await self.unwrap(key_id, proof, _PROOF)
        except NotOpened:
            return False
        return True

    async def _answer(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._limit_s):
                return await asked
        except Exception as error:  # noqa: BLE001 # whatever the host's code raises: secrets are out of reach, nothing else is
            log.error("The key service does not answer", reason=type(error).__name__)  # noqa: TRY400 - its text may hold anything
            raise Unavailable(
                "the key service does not answer, and secrets cannot be read or written without"
            ) from None

    def _remember(self, name: bytes, data_key: bytes) -> None:
        self._known[name] = data_key
        if len(self._known) > self._most_keys:
            self._known.popitem(last=False)


def _name_of(wrapped: bytes, associated: bytes) -> bytes:
    """By what a data key is remembered: it opens for the same wrapped bytes and the same place alone."""
    return hashlib.sha256(len(wrapped).to_bytes(4, "big") + wrapped + associated).digest()
