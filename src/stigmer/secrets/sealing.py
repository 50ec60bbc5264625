"""A resource's secret values as one record of ciphertexts, which opens nowhere but in that resource.

Each value is encrypted by AES-256-GCM under the resource's own data key, which is wrapped by a key-encryption key
(`KeyWrapper`: a keyring's, or a key service's). What a value is of is its associated data: a value that is changed,
moved to another place or resource, or left out makes the whole record DATA_LOSS. Records hold no plaintext but the
places; nothing here puts a value into an error or a repr.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stigmer.errors import DataLoss
from stigmer.secrets.cipher import KEY_BYTES, Cipher, NotOpened, packed, unpacked
from stigmer.secrets.fields import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_VERSION = b"\x01"
_ID_BYTES = 16
_FLAGGED = b"is_secret"  # whoever is flagged otherwise is never sealed; `fields.put` refuses a row that says so


class KeyWrapper(Protocol):
    """What wraps data keys: `keyring.Keyring`, or `key_service.ServiceWrapper`."""

    @property
    def active(self) -> str:
        """The id of the key that wraps now."""
        ...

    async def wrap(self, key_id: str, data_key: bytes, associated: bytes) -> bytes:
        """The data key, wrapped by that key, which was the active one just now. Raises NotOpened, Unavailable."""
        ...

    async def unwrap(self, key_id: str, wrapped: bytes, associated: bytes) -> bytes:
        """The data key. Raises NotOpened, Unavailable."""
        ...

    async def proof(self, key_id: str) -> bytes:
        """What `proves` knows the key by later. Raises NotOpened, Unavailable."""
        ...

    async def proves(self, key_id: str, proof: bytes) -> bool:
        """Whether the key is there, and the one that the proof is of. Raises Unavailable."""
        ...


class Binding(NamedTuple):
    """What a resource's values are bound to.

    Attributes:
        deployment: the id of the deployment, so that a database's record opens in no other one.
        kind: as resources spell it.
        owner: the organization, or who else owns it.
        id: of the resource.
        execution_id: the execution that it serves; empty where it serves none.
    """

    deployment: str
    kind: str
    owner: str
    id: str
    execution_id: str

    def associated(self, purpose: bytes, *more: bytes) -> bytes:
        """The binding and more as associated data, of which no two are alike."""
        return packed(purpose, *(part.encode() for part in self), *more)


class _Record(NamedTuple):
    """A record in parts; `manifest` is proof of all entries, which are by place: a nonce and a ciphertext each."""

    data_key_id: bytes
    key_id: str
    wrapped: bytes
    manifest: bytes
    entries: Mapping[Place, bytes]

    @classmethod
    def of(cls, data: bytes) -> _Record:
        """Raises ValueError for what is no record."""
        if data[:1] != _VERSION:
            raise ValueError("a record of another version")
        data_key_id, key_id, wrapped, manifest, *rest = unpacked(data[1:])
        places = map(Place, (path.decode() for path in rest[::3]), (key.decode() for key in rest[1::3]))
        entries = dict(zip(places, rest[2::3], strict=True))
        if len(entries) * 3 != len(rest):
            raise ValueError("two entries of one place")
        return cls(data_key_id, key_id.decode(), wrapped, manifest, entries)

    def encoded(self) -> bytes:
        """The record as it is stored."""
        return _VERSION + packed(self.data_key_id, self.key_id.encode(), self.wrapped, self.manifest, *self.flat())

    def flat(self) -> Iterator[bytes]:
        """The entries, in a row: path, key, what is sealed."""
        for place, sealed in self.entries.items():
            yield place.path.encode()
            yield place.key.encode()
            yield sealed


class Opening:
    """A record that is proven, and its data key: what is left to do is to decrypt its values.

    Args:
        binding: what the values are bound to.
        data_key: theirs.
        record: in parts.
    """

    __slots__ = ("_binding", "_cipher", "_entries")

    def __init__(self, binding: Binding, data_key: bytes, record: _Record) -> None:
        self._binding, self._cipher = binding, Cipher(data_key)
        associated = _of_value(binding, record.data_key_id)
        self._entries = [(place, one, associated(place)) for place, one in record.entries.items()]

    def __repr__(self) -> str:
        return f"<Opening of {len(self._entries)} values of {self._binding.kind} {self._binding.id}>"

    def values(self) -> dict[Place, bytes]:
        """The values.

        Raises:
            DataLoss: as `Sealer.open`.
        """
        decrypt = self._cipher.decrypt
        try:
            return {place: decrypt(one, associated) for place, one, associated in self._entries}
        except NotOpened:
            raise DataLoss(self._binding.kind, self._binding.id) from None


class Sealer:
    """Seals the values of resources, and opens them again.

    Args:
        keys: what wraps the data keys.
    """

    def __init__(self, keys: KeyWrapper) -> None:
        self._keys = keys

    def __repr__(self) -> str:
        return f"<Sealer under {self._keys.active}>"

    async def seal(
        self,
        binding: Binding,
        values: Mapping[Place, bytes],
        before: bytes | None = None,
        kept: Iterable[Place] = (),
    ) -> bytes:
        """The record of a resource's secret values.

        Args:
            binding: what they are bound to.
            values: the new ones.
            before: the record until now, under the same binding. Needed where something is kept; a resource whose
                values are all new gets a new data key.
            kept: the places whose values stay as they are, each of them in `before`; a new value counts before them.

        Raises:
            DataLoss: what is to be kept does not open.
            LookupError: what is to be kept is not in `before`.
            Unavailable: the key service does not answer.
        """
        staying = set(kept) - values.keys()
        if before is None or not staying:
            if staying:
                raise LookupError(f"no value to keep at {min(staying)}")
            return await self._sealed(binding, os.urandom(_ID_BYTES), os.urandom(KEY_BYTES), values, {})
        record, data_key = await self._unwrapped(binding, before)
        if missing := staying - record.entries.keys():
            raise LookupError(f"no value to keep at {min(missing)}")
        entries = {place: record.entries[place] for place in staying}
        return await self._sealed(binding, record.data_key_id, data_key, values, entries)

    async def open(self, binding: Binding, record: bytes) -> dict[Place, bytes]:
        """The values of a record.

        Raises:
            DataLoss: it does not open, in whichever part; it says of which kind and id alone.
            Unavailable: the key service does not answer.
        """
        return (await self.opening(binding, record)).values()

    async def opening(self, binding: Binding, record: bytes) -> Opening:
        """What opens the record as often as it is asked; raises as `open` does."""
        parts, data_key = await self._unwrapped(binding, record)
        return Opening(binding, data_key, parts)

    async def rewrap(self, binding: Binding, record: bytes) -> bytes | None:
        """The record with its data key under the active key; None where it is already. Raises as `open` does."""
        parts, data_key = await self._unwrapped(binding, record)
        if parts.key_id == self._keys.active:
            return None
        key_id, wrapped = await self._wrapped(binding, parts.data_key_id, data_key)
        return parts._replace(key_id=key_id, wrapped=wrapped).encoded()

    async def _sealed(
        self,
        binding: Binding,
        data_key_id: bytes,
        data_key: bytes,
        values: Mapping[Place, bytes],
        entries: Mapping[Place, bytes],
    ) -> bytes:
        """The record of new values and of entries that are sealed already, all under one data key."""
        cipher, associated = Cipher(data_key), _of_value(binding, data_key_id)
        new = {place: cipher.encrypt(value, associated(place)) for place, value in values.items()}
        key_id, wrapped = await self._wrapped(binding, data_key_id, data_key)
        record = _Record(data_key_id, key_id, wrapped, b"", {**entries, **new})
        manifest = cipher.encrypt(b"", _of_entries(binding, record))
        return record._replace(manifest=manifest).encoded()

    async def _wrapped(self, binding: Binding, data_key_id: bytes, data_key: bytes) -> tuple[str, bytes]:
        key_id = self._keys.active
        return key_id, await self._keys.wrap(key_id, data_key, _of_key(binding, data_key_id, key_id))

    async def _unwrapped(self, binding: Binding, record: bytes) -> tuple[_Record, bytes]:
        """A record whose entries are all there, and its data key."""
        try:
            parts = _Record.of(record)
            associated = _of_key(binding, parts.data_key_id, parts.key_id)
            data_key = await self._keys.unwrap(parts.key_id, parts.wrapped, associated)
            Cipher(data_key).decrypt(parts.manifest, _of_entries(binding, parts))
        except (ValueError, NotOpened):
            raise DataLoss(binding.kind, binding.id) from None
        return parts, data_key


def places_of(record: bytes) -> frozenset[Place]:
    """Where the values of a record stand, unproven: for the mark alone. Raises ValueError for what is no record."""
    return frozenset(_Record.of(record).entries)


def key_id_of(record: bytes) -> str:
    """The key that the record's data key is wrapped by, unproven. Raises ValueError for what is no record."""
    if record[:1] != _VERSION:
        raise ValueError("a record of another version")
    _, key_id = islice(unpacked(record[1:]), 2)  # what comes after them may be long
    return key_id.decode()


def _of_key(binding: Binding, data_key_id: bytes, key_id: str) -> bytes:
    return binding.associated(b"data key", data_key_id, key_id.encode())


def _of_value(binding: Binding, data_key_id: bytes) -> Callable[[Place], bytes]:
    """What goes with each value, by its place."""
    all_alike = binding.associated(b"value", data_key_id)
    return lambda place: all_alike + packed(place.path.encode(), place.key.encode(), _FLAGGED)


def _of_entries(binding: Binding, record: _Record) -> bytes:
    return binding.associated(b"entries", record.data_key_id, *record.flat())
