"""Signed checkpoints of the audit: what the log was up to an entry, for who keeps a copy where nobody can change it.

A checkpoint is an entry of the log, and a line of the file that it is exported to, in the same form. A cut is one as
well: it says that the entries up to that one were removed because they had become too old.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stigmer.secrets.audit import VERSION, Op, ms_of, text_of
from stigmer.secrets.cipher import packed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ACTOR = "system"
OPS = frozenset({Op.CHECKPOINT, Op.CUT})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was, signed.

    Attributes:
        op: Op.CHECKPOINT, or Op.CUT.
        number: of the last entry that it is about.
        link: that entry's, by which all before it are fixed.
        at_ms: when it was signed, in milliseconds since 1970.
        key: the public key that it is signed with, of 32 bytes.
        signature: Ed25519, of 64 bytes.
    """

    op: Op
    number: int
    link: bytes
    at_ms: int
    key: bytes
    signature: bytes = b""

    @property
    def is_genuine(self) -> bool:
        """Whether the signature is the key's; whose key it is, it cannot tell."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - a start need not wait for it
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, self.signed)
        except (InvalidSignature, ValueError):
            return False
        return True

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        parts = (str(VERSION), self.op, str(self.number), self.link.hex(), str(self.at_ms))
        return packed(b"stigmer audit", *(part.encode() for part in parts))

    def encoded(self) -> bytes:
        """As it stands in the log and in the file."""
        line = {
            "v": VERSION,
            "at": text_of(self.at_ms),
            "op": self.op,
            "actor": ACTOR,
            "number": self.number,
            "link": self.link.hex(),
            "key": _text(self.key),
            "signature": _text(self.signature),
        }
        return json.dumps(line, separators=(",", ":")).encode()

    @classmethod
    def of(cls, value: bytes | str) -> Checkpoint:
        """The checkpoint of what `encoded` gave. Raises ValueError for what is none."""
        try:
            line: dict[str, Any] = json.loads(value)
            op = Op(line["op"])
            if op not in OPS:
                raise ValueError("no checkpoint")
            key, signature = base64.b64decode(line["key"]), base64.b64decode(line["signature"])
            return cls(op, int(line["number"]), bytes.fromhex(line["link"]), ms_of(line["at"]), key, signature)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no checkpoint: {error}") from None


class Signer:
    """Signs checkpoints.

    Args:
        seed: the private key, of 32 bytes.

    Attributes:
        key: the public one, of 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above

        self._private: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"<Signer {_text(self.key)}>"

    def sign(self, op: Op, number: int, link: bytes) -> Checkpoint:
        """A checkpoint of the log up to that entry."""
        told = Checkpoint(op, number, link, time.time_ns() // 1_000_000, self.key)
        return Checkpoint(op, number, link, told.at_ms, self.key, self._private.sign(told.signed))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
