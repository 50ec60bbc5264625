"""What is wrong with manifests, each fault with its place."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaml import Mark


class Fault(NamedTuple):
    """One fault.

    Attributes:
        file: as it was named; `-` for standard input.
        line: counted from 1.
        column: likewise.
        text: the field, and what is wrong with it.
    """

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class Faults:
    """The faults of one file, as they are found; and where its fields stand.

    Args:
        file: its name.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(self, mark: Mark | None, field: str, text: str) -> None:
        """Note a fault of a field, or of the document where that is empty."""
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        self.found.append(Fault(self.file, line + 1, column + 1, f"{field}: {text}" if field else text))


def hint(word: str, words: Iterable[str]) -> str:
    """The word that was meant, or those that there are."""
    known = list(words)
    near = difflib.get_close_matches(word, known, n=1) or [one for one in known if one.lower() == word.lower()]
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"
