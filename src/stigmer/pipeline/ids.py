"""Names that the server gives: ids, version ids, slugs."""

from __future__ import annotations

import re
import time

from ulid import ULIDGenerator

_ULID = r"[0-7][0-9a-hjkmnp-tv-z]{25}"
_NOT_SLUG = re.compile(r"[^a-z0-9-]")
_HYPHENS = re.compile(r"-+")


class IdSource:
    """Gives ids of the form `<prefix>-<lower-case ULID>`, each greater than the one before, whatever the clock does."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._generator = ULIDGenerator(clock=self._never_back)

    def new(self, prefix: str) -> str:
        """A new id with the kind's prefix."""
        return f"{prefix}-{str(self._generator.generate()).lower()}"

    def _never_back(self) -> int:
        """The time in milliseconds since 1970; stands still where the clock is set back."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms


def is_well_formed(id_: str, prefix: str) -> bool:
    """Whether an id that a caller brings could have been made by the server."""
    return re.fullmatch(f"{re.escape(prefix)}-{_ULID}", id_) is not None


def slug_of(name: str) -> str:
    """A name's slug; empty where nothing of the name is left.

    Lower-case, spaces to hyphens, only `a-z 0-9 -`, hyphens collapsed and trimmed; never truncated.
    """
    kept = _NOT_SLUG.sub("", "-".join(name.lower().split(" ")))
    return _HYPHENS.sub("-", kept).strip("-")
