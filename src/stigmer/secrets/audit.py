"""What the audit keeps: one record for each time that somebody touches a resource with secrets, or tries to.

A record is a line of JSON that names keys and never holds a value: in its place stands a keyed hash, by which two
records can be told to be of the same value. The log that the records stand in chains them (`store.rows.chained`).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import time
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from stigmer.secrets.sealing import places_of
from stigmer.wire.shapes import path_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stigmer.secrets.fields import Place

LOG = "audit"
"""The log that the records stand in."""
VERSION = 1

_HASH_BYTES = 12


class Op(StrEnum):
    """What was done to a resource that has secrets, or to a key that they are sealed under."""

    CREATE = "create"
    READ = "read"
    USE = "use"
    UPDATE = "update"
    ROTATE = "rotate"
    DELETE = "delete"
    EXPIRE = "expire"
    DENIED = "denied"
    REDACTED = "redacted"
    UNAUTHENTICATED = "unauthenticated"
    KEY_ADD = "key.add"
    KEY_ACTIVATE = "key.activate"
    KEY_REWRAP = "key.rewrap"
    KEY_RETIRE = "key.retire"
    CHECKPOINT = "checkpoint"
    CUT = "cut"


_READS = frozenset({Op.READ, Op.USE})


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the audit.

    Attributes:
        op: what was done.
        actor: who did it; `system` for the server's own jobs; empty where nobody knows.
        on_behalf_of: whose call had the server do it; empty where the actor called itself.
        request_id: of the call; that of an execution's create is in the records of all that it caused.
        peer: where the call came from.
        method: the path of the RPC, or the command or job.
        kind: of the resource; empty for a key.
        id: of the resource, or of the key.
        org: the organization that has it; empty where a single caller or the platform does.
        keys: where its secret values stand, each with the keyed hash of the value; empty where no value was at hand.
        shown: whether the caller was shown the values.
        code: how the call ended, by its status code.
        count: how many calls a record counts; 0 where it is of one.
        at_ms: when, in milliseconds since 1970; of a record that counts, the begin of the minute.
    """

    op: Op
    actor: str
    on_behalf_of: str = ""
    request_id: str = ""
    peer: str = ""
    method: str = ""
    kind: str = ""
    id: str = ""
    org: str = ""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    shown: bool = False
    code: str = "OK"
    count: int = 0
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def joined(self, later: Event) -> Event:
        """One record of two in one transaction about one resource: that it was written counts before that it was read.

        The keys are those of both; a read tells the hashes of values that were kept.
        """
        read, other = (later, self) if later.op in _READS else (self, later)
        if read.op not in _READS:
            return replace(later, shown=self.shown or later.shown)
        keys = {**read.keys, **{name: told for name, told in other.keys.items() if told or name not in read.keys}}
        return replace(other, keys=keys, shown=self.shown or later.shown)

    def encoded(self) -> bytes:
        """The record as it is stored: what is empty is left out."""
        values = zip(_NAMES, _VALUES(self), strict=True)
        line = {"v": VERSION, "at": text_of(self.at_ms), **{name: value for name, value in values if value}}
        return _JSON.encode(line).encode()

    @classmethod
    def of(cls, value: bytes) -> Event:
        """The record of what is stored; fields that a later version added are left out.

        Raises:
            ValueError: it is none.
        """
        try:
            line: dict[str, Any] = json.loads(value)
            known: dict[str, Any] = {name: line[name] for name in _NAMES if name in line}
            known.update(op=Op(line["op"]), at_ms=ms_of(line["at"]), actor=line.get("actor", ""))
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no record of the audit: {error}") from None


_NAMES = [one.name for one in fields(Event) if one.name != "at_ms"]
_VALUES = attrgetter(*_NAMES)
_JSON = json.JSONEncoder(separators=(",", ":"))  # made once: `json.dumps` would make one each time


def named(places: Iterable[Place]) -> dict[str, str]:
    """Where values stand, in words, with no hash."""
    return {_name(place): "" for place in places}


def names_in(record: bytes | None) -> dict[str, str]:
    """Where the values of a sealed record stand; nothing where it is not there, or damaged."""
    try:
        return named(places_of(record)) if record is not None else {}
    except ValueError:
        return {}


def hashed(key: bytes, values: Mapping[Place, bytes]) -> dict[str, str]:
    """Where values stand, in words, each with its keyed hash of 96 bits: the same for the same value anywhere."""
    return {_name(place): _hash(key, value) for place, value in values.items()}


def _hash(key: bytes, value: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(value, key=key, digest_size=_HASH_BYTES).digest()).decode()


@lru_cache(maxsize=10_000)
def _name(place: Place) -> str:
    return path_part(place.path, place.key) if place.key else place.path


def text_of(at_ms: int) -> str:
    """A time as records have it, by milliseconds since 1970."""
    at = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(at: str) -> int:
    """The milliseconds since 1970 of a time as records have it. Raises ValueError for what is none."""
    return round(dt.datetime.fromisoformat(at).timestamp() * 1000)
