"""The lines of a tokens file, one token each: `name:role:organizations:not_after:sha256`.

`tokens` knows callers by them, `token_file` reads and edits them. A line holds no token, and nothing that is said of a
line repeats what it holds: somebody may have put a token there by mistake.
"""

from __future__ import annotations

import calendar
import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stigmer.access.principal import ALL, RESERVED, ROLES, Principal, Role
from stigmer.access.watched_file import entries_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "stg_"
"""What each token begins with, so that those who look for leaked secrets know one."""

NAME = re.compile(r"[A-Za-z0-9._@-]+")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_FIELDS = ("name", "role", "organizations", "not_after", "sha256")
_CHARACTERS = "takes letters, digits and ._@- alone"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of one token.

    Attributes:
        principal: whose it is.
        not_after: the last day, in UTC, on which it is good; None for one that is good until it is revoked.
        digest: the SHA-256 of the whole token.
        ends_s: when it ends, in seconds since 1970; infinite where it does not.
    """

    principal: Principal
    not_after: dt.date | None
    digest: bytes
    ends_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends_s", end_of(self.not_after))

    @property
    def fingerprint(self) -> str:
        """A short text that tells it from others; no name can be one, and it gives nothing away of the digest."""
        return f"fp:{hashlib.sha256(self.digest).hexdigest()[:12]}"

    @property
    def line(self) -> str:
        """Its line, without an end."""
        organizations = ",".join(sorted(self.principal.organizations))
        fields = (self.principal.name, self.principal.role, organizations, self.not_after or "", self.digest.hex())
        return ":".join(map(str, fields))


def end_of(last_day: dt.date | None) -> float:
    """When a day is over in UTC, in seconds since 1970; infinite for None."""
    return float("inf") if last_day is None else calendar.timegm(last_day.timetuple()) + 86_400


def digest_of(token: str) -> bytes:
    """The SHA-256 of a token, which is all that is kept of it."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def token_of(line: str) -> Token:
    """The token of a line; ValueError says what is wrong with it, and how to write it."""
    fields = line.split(":")
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{len(fields)} fields; write {':'.join(_FIELDS)}")
    name, role, organizations, not_after, digest = fields
    if not _DIGEST.fullmatch(digest):
        raise ValueError("sha256: write the SHA-256 of the whole token in 64 hexadecimal digits")
    principal = principal_of(name, role, organizations.split(",") if organizations else ())
    return Token(principal, date_of(not_after), bytes.fromhex(digest))


def principal_of(name: str, role: str, organizations: Sequence[str]) -> Principal:
    """The principal of that name; ValueError as in `token_of`."""
    known: dict[str, Role] = {one: one for one in ROLES}
    if not NAME.fullmatch(name):
        raise ValueError(f"name: {_CHARACTERS}")
    if name in RESERVED:
        raise ValueError(f"name: {', '.join(sorted(RESERVED))} are the server's own; choose another")
    if role not in known:
        raise ValueError(f"role: write one of {', '.join(ROLES)}")
    return Principal(name, known[role], _organizations(organizations))


def _organizations(names: Sequence[str]) -> frozenset[str]:
    if ALL in names and len(names) > 1:
        raise ValueError("organizations: * is all of them; write it alone, or leave it out")
    if not all(name == ALL or NAME.fullmatch(name) for name in names):
        raise ValueError(f"organizations: each {_CHARACTERS}; write them with commas, * for all, nothing for none")
    return frozenset(names)


def date_of(text: str) -> dt.date | None:
    """The last day of a token, None for an empty text; ValueError as in `token_of`."""
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError("not_after: write the last day like 2027-03-31, or nothing") from None


def tokens_of(text: str) -> dict[bytes, Token]:
    """The tokens of a file by their digests; ValueError names the first lines that are wrong."""

    def entry_of(line: str) -> tuple[bytes, Token]:
        token = token_of(line)
        return token.digest, token

    return entries_of(text, entry_of)
