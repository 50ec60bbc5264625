"""Label selectors, as in Kubernetes: `a=b,c!=d,e in (x,y),f notin (z),g,!h`; all of their terms must hold.

`=` and `==` are the same. `!=` and `notin` hold as well where the label is not there. Names and values are any
characters but spaces and `,()=!<>`; a value may be left out, and is empty then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from stigmer.pipeline.kind import has_label, label_is

if TYPE_CHECKING:
    from stigmer.store.rows import Keys, Query

MAX_PARTS = 100
"""How many terms and values of sets a selector may have together: each is looked up in an index."""

_TOKEN = re.compile(r"\s*(?:(?P<word>[^\s,()=!<>]+)|(?P<mark>==|!=|[,()=!<>]))")
_IN, _NOT_IN = "in", "notin"


class SelectorError(ValueError):
    """A text that is no selector: where that shows, and what is wanted there."""


class Selection(NamedTuple):
    """What a selector asks for, as keys of the store: see `Query`."""

    keys: Keys = ()
    any_of: tuple[Keys, ...] = ()
    without: Keys = ()

    def joined(self, term: Selection) -> Selection:
        """What asks for both."""
        return Selection(self.keys + term.keys, self.any_of + term.any_of, self.without + term.without)

    def narrow(self, query: Query) -> Query:
        """The query with the selector's conditions."""
        keys, any_of = (*query.keys, *self.keys), (*query.any_of, *self.any_of)
        return replace(query, keys=keys, any_of=any_of, without=(*query.without, *self.without))


class _Token(NamedTuple):
    """A part of the text; `at` is the position of its first character, from 1. The end has neither word nor mark."""

    at: int
    word: str = ""
    mark: str = ""

    @property
    def told(self) -> str:
        return f"'{self.word or self.mark}'" if self.word or self.mark else "the end"


@lru_cache(maxsize=256)
def parsed(text: str) -> Selection:
    """What a selector asks for; an empty one for nothing.

    Raises:
        SelectorError: the text is none.
    """
    reader = _Reader(_tokens(text))
    selection, parts = Selection(), 0
    while reader.token.told != "the end" or parts:
        term = _term(reader)
        parts += 1 + sum(map(len, term.any_of)) + len(term.without)
        if parts > MAX_PARTS:
            raise SelectorError(f"has more than {MAX_PARTS} terms and values: ask for less at a time")
        selection = selection.joined(term)
        if not reader.takes(","):
            break
    reader.end()
    return selection


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while match := _TOKEN.match(text, position):
        at = match.start(match.lastgroup or 0) + 1
        tokens.append(_Token(at, match["word"] or "", match["mark"] or ""))
        position = match.end()
    return [*tokens, _Token(len(text) + 1)]


@dataclass
class _Reader:
    """The parts of a selector, one after another."""

    tokens: list[_Token]
    position: int = 0

    @property
    def token(self) -> _Token:
        """The one that comes next."""
        return self.tokens[self.position]

    def takes(self, *marks: str) -> bool:
        """Whether one of the marks comes next; it is taken then."""
        found = self.token.mark in marks
        self.position += found
        return found

    def takes_word(self, *words: str) -> str:
        """The word that comes next, where it is one of those; any, where none is named. Empty where it is not."""
        word = self.token.word
        if not word or (words and word not in words):
            return ""
        self.position += 1
        return word

    def wants(self, *marks: str, told: str) -> None:
        """Take one of the marks; raises SelectorError where something else comes."""
        if not self.takes(*marks):
            raise self.unexpected(told)

    def end(self) -> None:
        """Raises SelectorError where anything is left."""
        if self.token.told != "the end":
            raise self.unexpected("',' or the end")

    def unexpected(self, told: str) -> SelectorError:
        """What is wrong where something else comes than what is told."""
        return SelectorError(f"at position {self.token.at}: expected {told}, found {self.token.told}")


def _term(reader: _Reader) -> Selection:
    if reader.takes("!"):
        return Selection(without=(has_label(_name(reader)),))
    name = _name(reader)
    if reader.takes("=", "=="):
        return Selection((label_is(name, reader.takes_word()),))
    if reader.takes("!="):
        return Selection(without=(label_is(name, reader.takes_word()),))
    operator = reader.takes_word(_IN, _NOT_IN)
    if not operator:
        if reader.token.mark not in {"", ","} or reader.token.word:
            raise reader.unexpected("'=', '==', '!=', 'in', 'notin', ',' or the end")
        return Selection((has_label(name),))
    keys = tuple(label_is(name, value) for value in _values(reader))
    if operator == _NOT_IN:
        return Selection(without=keys)
    return Selection(any_of=(keys,)) if len(keys) > 1 else Selection(keys)


def _name(reader: _Reader) -> str:
    name = reader.takes_word()
    if not name:
        raise reader.unexpected("the name of a label")
    return name


def _values(reader: _Reader) -> list[str]:
    """The values of a set, each once."""
    reader.wants("(", told="'('")
    if reader.token.mark == ")":
        raise reader.unexpected("a value")
    values = {reader.takes_word(): None}
    while reader.takes(","):
        values[reader.takes_word()] = None
    reader.wants(")", told="',' or ')'")
    return [*values]
