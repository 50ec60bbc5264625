"""The kinds as people write them on the command line: `agent`, `agents`, `AgentExecution`, `exec`."""

from __future__ import annotations

import difflib
import re
from functools import cache, cached_property
from typing import Any, NamedTuple

from stigmer.client import kinds
from stigmer.client.resources import about
from stigmer.errors import StartupError

_SHORT = {
    "agents": "ag",
    "instances": "inst",
    "executions": "exec",
    "sessions": "ses",
    "environments": "env",
    "contexts": "ctx",
}


class Named(NamedTuple):
    """A kind and its names.

    Attributes:
        kind: as resources spell it, such as "AgentExecution".
        plural: as `stigmer.Client` has it, such as "executions".
        singular: as a line about a resource begins, such as "execution".
        short: such as "exec"; empty for none.
        client: the class of the client for it.
    """

    kind: str
    plural: str
    singular: str
    short: str
    client: Any

    @property
    def api_version(self) -> str:
        """What manifests have that name none."""
        return str(self.client._api_version)  # noqa: SLF001 - generated, from the protos

    @property
    def scope(self) -> int:
        """The owner_scope of manifests that name none."""
        return int(self.client._scope)  # noqa: SLF001 - as above

    @property
    def is_applied(self) -> bool:
        """Whether the kind has `apply`."""
        return "apply" in self.client._paths  # noqa: SLF001 - as above

    @property
    def words(self) -> tuple[str, ...]:
        """All that it may be called, in lower case."""
        long = about(self.kind).meta.enum_name
        spelled = (long, long.replace("_", "-"), long.replace("_", ""))
        return (self.singular, self.plural, *filter(None, (self.short,)), *spelled, *(f"{one}s" for one in spelled))


@cache
def all_kinds() -> tuple[Named, ...]:
    """Every kind that the client has, in its order."""
    found: list[Named] = []
    for plural, property_ in vars(kinds.Kinds).items():
        if isinstance(property_, cached_property):
            client = getattr(kinds, property_.func.__annotations__["return"])
            if kind := getattr(client, "_kind", ""):
                singular = re.sub("s$", "", re.sub("ies$", "y", plural))
                found.append(Named(kind, plural, singular, _SHORT.get(plural, ""), client))
    return tuple(found)


def kind_of(word: str) -> Named:
    """The kind that a word names; raises StartupError, with the word that was meant."""
    words = {name: one for one in all_kinds() for name in one.words}
    if found := words.get(word.lower()):
        return found
    near = difflib.get_close_matches(word.lower(), words, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(one.plural for one in all_kinds())}"
    raise StartupError(f"no kind {word!r}; {hint}")


def kind_by_name(name: str) -> Named:
    """The kind that resources spell so; raises KeyError where there is none."""
    return {one.kind: one for one in all_kinds()}[name]


def name_of(resource: Any) -> str:  # noqa: ANN401 - of any kind
    """What a resource is called in lines about it: its slug, or its id where the kind is not found by slug."""
    return str(resource.metadata.slug if about(resource.kind).has_slugs else resource.metadata.id)
