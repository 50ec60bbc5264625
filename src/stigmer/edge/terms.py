"""What a caller's metadata say of how a write is to be done: only tried (`x-dry-run`), or once (`idempotency-key`)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from stigmer.errors import FailedPrecondition, InvalidArgument
from stigmer.pipeline.call import Once
from stigmer.wire import codec

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from stigmer.pipeline.call import Call

DRY_RUN, IDEMPOTENCY_KEY = "x-dry-run", "idempotency-key"
ALL = "all"
MAX_KEY_CHARS = 255
SECRET = "idempotency"  # noqa: S105 - the name of the key, not the key
"""The name of the store's secret that requests are hashed with."""

_KEY = re.compile(f"[!-~]{{1,{MAX_KEY_CHARS}}}")
_KEYED = frozenset({"create", "rotate"})


def take(call: Call, request: Message) -> None:
    """Note in a call that writes what its metadata say: `dry_run` and `once`.

    Raises:
        InvalidArgument: a value is none that is taken.
        FailedPrecondition: the method cannot be tried.
    """
    if DRY_RUN in call.metadata:
        _check_dry_run(call)
        call.dry_run = True
    if call.method.kind is not None and call.method.name in _KEYED and IDEMPOTENCY_KEY in call.metadata:
        key = _key(call)
        if not call.dry_run:
            call.once = Once(key, _fingerprint(call, request))


def _check_dry_run(call: Call) -> None:
    if set(call.metadata.getall(DRY_RUN)) != {ALL}:
        raise InvalidArgument.of(DRY_RUN, f"must be '{ALL}', which tries the call and keeps nothing of it, or left out")
    if call.method.kind is None:
        message = f"{call.method.name} cannot be tried: leave {DRY_RUN} out to have it done"
        raise FailedPrecondition(message, reason="DRY_RUN_UNSUPPORTED", subject=call.method.path)


def _key(call: Call) -> str:
    keys = call.metadata.getall(IDEMPOTENCY_KEY)
    key = str(keys[0])
    if len(keys) > 1 or not _KEY.fullmatch(key):
        told = f"must be one value of 1 to {MAX_KEY_CHARS} printable ASCII characters without spaces, such as a UUID"
        raise InvalidArgument.of(IDEMPOTENCY_KEY, told)
    return key


def _fingerprint(call: Call, request: Message) -> bytes:
    """What tells the request from all others, and nobody without the store's secret what is in it."""
    if call.store is None:
        raise TypeError("a call is served on a store")
    return hashlib.blake2b(codec.serialized(request), key=call.store.secret(SECRET), digest_size=32).digest()
