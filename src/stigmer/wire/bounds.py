"""How long and how many the fields of a request may be: what one resource may cost all others to handle.

Every list and map has a bound, DEFAULT unless BOUNDS says otherwise; what a TRANSCRIPT is made of has none of its own,
only the parts of the whole message are counted (`scan`). `ValidateProto` checks this before anything walks or
converts the request. What was stored under other bounds stays readable, and can be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from stigmer.errors import Violation
from stigmer.wire.descriptors import descriptor
from stigmer.wire.shapes import At, entries_of, has_any, is_map, path_of, reachable, value_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

MAX_PARTS = 10_000
"""Submessages, list elements and map entries of a request that can hold no transcript."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a field may hold at most; None for no bound.

    Attributes:
        entries: of a list or map.
        chars: in a text, in each text of a list, in each value of a map.
        key_chars: in each key of a map.
    """

    entries: int | None = None
    chars: int | None = None
    key_chars: int | None = None


DEFAULT = Bound(entries=1_000, key_chars=1_024)
"""For lists and maps that are not named here."""
NAME = Bound(chars=1_024)
"""For names and slugs, and for the ids by which resources are found."""
AGENT_NAME = Bound(chars=1_000)
"""For those of an Agent: its default instance is called `<name>-default`, or `<name>-default-2` and so on."""
TAGS = Bound(entries=256, chars=256)
"""For tags: each is a row of the store's index."""
LABELS = Bound(entries=256, chars=1_024, key_chars=320)
SELECTOR = Bound(chars=8_192)
"""For label selectors."""
ANNOTATIONS = Bound(entries=1_024, chars=262_144, key_chars=320)

_METADATA = "ai.stigmer.commons.apiresource.ApiResourceMetadata"
_AGENTIC = "ai.stigmer.agentic"
_EXECUTION = f"{_AGENTIC}.agentexecution.v1"
_FILTERS = {"tags": TAGS, "org": NAME, "label_selector": SELECTOR}
_LISTS = (
    "agent.v1.ListAgentsRequest",
    "agentinstance.v1.ListAgentInstancesRequest",
    "session.v1.ListSessionsRequest",
    "agentexecution.v1.ListAgentExecutionsRequest",
    "environment.v1.ListEnvironmentsRequest",
    "executioncontext.v1.ListExecutionContextsRequest",
)
BOUNDS = {
    f"{_METADATA}.name": NAME,
    f"{_METADATA}.slug": NAME,
    f"{_METADATA}.org": NAME,
    f"{_METADATA}.tags": TAGS,
    f"{_METADATA}.labels": LABELS,
    f"{_METADATA}.annotations": ANNOTATIONS,
    f"{_AGENTIC}.agentinstance.v1.AgentInstanceSpec.agent_id": NAME,
    f"{_AGENTIC}.session.v1.SessionSpec.agent_instance_id": NAME,
    f"{_AGENTIC}.executioncontext.v1.ExecutionContextSpec.execution_id": NAME,
    f"{_EXECUTION}.AgentExecutionSpec.session_id": NAME,
    f"{_EXECUTION}.AgentExecutionSpec.agent_id": NAME,
    **{f"{_AGENTIC}.{request}.{field}": bound for request in _LISTS for field, bound in _FILTERS.items()},
}
"""By a field's full name."""
BOUNDS_WITHIN = {
    f"{_AGENTIC}.agent.v1.Agent": {f"{_METADATA}.name": AGENT_NAME, f"{_METADATA}.slug": AGENT_NAME},
}
"""By the full name of a request, what differs in it."""
TRANSCRIPT = frozenset(
    f"{_EXECUTION}.AgentExecutionStatus.{name}" for name in ("messages", "tool_calls", "sub_agent_executions", "todos")
)
"""The lists and maps of an execution's transcript."""
_NO_BOUND = Bound()
_ENTRIES_A_STEP = 100
_JSON = "google.protobuf."  # a Struct, and what is in it


class _Check(NamedTuple):
    """What is looked at in a field: its bound, and the checks of the messages in it.

    Attributes:
        occupied: whether one of these messages has anything that is looked at.
    """

    field: FieldDescriptor
    bound: Bound
    inner: _Checks
    occupied: Callable[[Message], bool]


_Checks: TypeAlias = "tuple[_Check, ...]"


def breaches(wire: Message) -> Iterator[Violation | None]:
    """Every bound that the message breaks; None at each point where the work could be left (see `slices`)."""
    root = cast("Descriptor", wire.DESCRIPTOR)
    within = root.full_name if root.full_name in BOUNDS_WITHIN else ""
    return _breaches(wire, _checks(root, within), None)


@cache
def is_unbounded(kind: Descriptor) -> bool:
    """Whether nothing in messages of that type has a bound."""
    return not _checks(kind, "")


@cache
def holds_transcript(full_name: str) -> bool:
    """Whether there can be a transcript in messages of that type."""
    kind = descriptor(full_name)
    return any(field.full_name in TRANSCRIPT for one in (kind, *reachable(kind)) for field in one.fields)


def _breaches(wire: Message, checks: _Checks, at: At) -> Iterator[Violation | None]:
    for check in checks:
        field, bound = check.field, check.bound
        value: Any = getattr(wire, field.name)
        here = (at, field.name, None)
        if not field.is_repeated:
            if check.inner and wire.HasField(field.name):
                yield from _breaches(value, check.inner, here)
            elif bound.chars is not None and len(value) > bound.chars:
                yield Violation(path_of(here), f"must be at most {bound.chars} characters long")
        elif bound.entries is not None and len(value) > bound.entries:
            yield Violation(path_of(here), f"must have at most {bound.entries} entries, not {len(value)}")
        elif value:
            yield from _in_entries(check, value, at)


def _in_entries(check: _Check, value: Any, at: At) -> Iterator[Violation | None]:  # noqa: ANN401 - a list or a map
    """Within a list or a map that has not too many entries."""
    field, bound = check.field, check.bound
    if is_map(field) and bound.key_chars is not None and any(len(key) > bound.key_chars for key in value):
        yield Violation(path_of((at, field.name, None)), f"a key must be at most {bound.key_chars} characters long")
    if bound.chars is None and not check.inner:
        return
    for number, (key, one) in enumerate(entries_of(field, value)):
        if not number % _ENTRIES_A_STEP:
            yield None
        if check.inner:
            if check.occupied(one):
                yield from _breaches(one, check.inner, (at, field.name, key))
        elif bound.chars is not None and len(one) > bound.chars:
            yield Violation(path_of((at, field.name, key)), f"must be at most {bound.chars} characters long")


@cache
def _checks(kind: Descriptor, within: str) -> _Checks:
    """What is looked at in messages of a type; nothing of what a Struct holds."""
    made: list[_Check] = []
    for field in kind.fields:
        bound, message = _bound(field, within), value_field(field).message_type
        inner = _checks(message, within) if message is not None and not message.full_name.startswith(_JSON) else ()
        if inner or bound != _NO_BOUND:
            made.append(_Check(field, bound, inner, _occupied(inner)))
    return tuple(made)


def _occupied(checks: _Checks) -> Callable[[Message], bool]:
    """Whether a message has anything in the fields that are looked at; a text counts as there."""
    texts = any(check.bound.chars is not None and not check.field.is_repeated for check in checks)
    return (lambda _: True) if texts else has_any([check.field for check in checks])


def _bound(field: FieldDescriptor, within: str) -> Bound:
    if field.full_name in TRANSCRIPT:
        return _NO_BOUND
    usual = DEFAULT if field.is_repeated else _NO_BOUND
    return BOUNDS_WITHIN.get(within, {}).get(field.full_name) or BOUNDS.get(field.full_name, usual)
