"""The search for canaries in whatever bytes there are: which channel has which canary, and in which form."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from stigmer.proof.canaries import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stigmer.proof.canaries import Canaries, Canary

_CUT_OFF = "one that is cut off"


class Finding(NamedTuple):
    """A secret value where none may be.

    Attributes:
        channel: where it was found, such as "log".
        form: how it was written down.
        canary: its name, never its value.
    """

    channel: str
    form: str
    canary: str

    def __str__(self) -> str:
        return f"{self.channel}: {self.canary}, {self.form}"


class Search:
    """Looks for canaries, and counts what it has looked at.

    Args:
        canaries: what it looks for.

    Attributes:
        findings: what it has found.
        bytes: how many bytes of each channel it has looked at.
    """

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries
        self.findings: set[Finding] = set()
        self.bytes: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Search {len(self.findings)} found in {sum(self.bytes.values())} bytes>"

    def look(self, channel: str, data: bytes) -> None:
        """Search what a channel has."""
        self.bytes[channel] += len(data)
        for form in _forms_in(data, *self._canaries.parts):
            names = [one.name for one in self._canaries if _is_in(data, one)] or [_CUT_OFF]
            self.findings |= {Finding(channel, form, name) for name in names}
        for canary in self._canaries:
            if canary.is_apart:
                self.findings |= {Finding(channel, form, canary.name) for form in _forms_in(data, canary.own)}


def _is_in(data: bytes, canary: Canary) -> bool:
    return next(_forms_in(data, canary.own), None) is not None


def _forms_in(data: bytes, *parts: bytes) -> Iterator[str]:
    """The forms in which one of the parts stands in the data."""
    return (form for part in parts for needle, form in _needles(part) if needle in data)


@lru_cache(10_000)
def _needles(part: bytes) -> tuple[tuple[bytes, str], ...]:
    """What to search for with the form that it has, each once: in several forms a part may look the same."""
    return tuple({FORMS[form](part): form for form in reversed(FORMS)}.items())
