"""What a message cannot hold is refused by the path of the field, in words without the value."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from effort import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from wire_strategies import any_message, stable

from stigmer._gen.ai.stigmer.agentic.agent.v1 import (
    Agent,
    AgentId,
    AgentSpec,
    HttpServer,
    McpServerDefinition,
    StdioServer,
)
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecution,
    AgentExecutionList,
    AgentExecutionStatus,
    ToolCall,
)
from stigmer._gen.ai.stigmer.agentic.session.v1 import ListSessionsRequest, Session
from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceAudit,
    ApiResourceAuditInfo,
    ApiResourceAuditStatus,
    ApiResourceMetadata,
)
from stigmer._gen.google.protobuf import ListValue, Struct, Value
from stigmer.errors import InvalidArgument
from stigmer.wire import codec, descriptors
from stigmer.wire.converters import MAX_RECURSION
from stigmer.wire.message_types import python_names

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

EXECUTION = "ai.stigmer.agentic.agentexecution.v1.AgentExecution"
GARBAGE: tuple[Any, ...] = (
    None,
    1,
    True,
    "s",
    b"b",
    1.5,
    [],
    {},
    [1],
    {"a": 1},
    {1: "a"},
    object(),
    "\ud800",
    2**70,
    AgentId("x"),
)
thorough = settings(deadline=None, max_examples=examples(100, 5_000), suppress_health_check=list(HealthCheck))


def refused(message: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        codec.to_wire(message)
    return {one.field: one.description for one in caught.value.violations}


@pytest.mark.longer
@thorough
@given(any_message(), st.data())
def test_a_value_of_the_wrong_type_is_refused_by_the_name_of_its_field(wire: Message, data: st.DataObject) -> None:
    fields: list[FieldDescriptor] = [*wire.DESCRIPTOR.fields]
    assume(fields)  # whoami asks for nothing
    message = codec.from_wire(wire)
    field = data.draw(st.sampled_from(fields))
    garbage = data.draw(st.sampled_from(GARBAGE))
    setattr(message, python_names(type(message))[field.number], garbage)
    try:
        codec.to_wire(message)
    except InvalidArgument as error:
        oneof = field.containing_oneof
        expected = (field.name, oneof.name if oneof is not None else field.name)
        assert all(one.field.startswith(expected) for one in error.violations)  # noqa: PT017 - as above
        assert "cannot be converted" not in error.message  # noqa: PT017 - as above


def test_unknown_fields_that_are_no_wire_format_are_refused() -> None:
    session = Session(metadata=ApiResourceMetadata())
    assert session.metadata is not None
    session.metadata._unknown_fields = b"\x0a"
    assert refused(session) == {"metadata": "its unknown fields are not in the wire format"}


def test_two_members_of_a_oneof_are_refused() -> None:
    both = McpServerDefinition(name="x", stdio=StdioServer(command="a"), http=HttpServer(url="b"))
    agent = Agent(spec=AgentSpec(mcp_servers=[McpServerDefinition(name="fine"), both]))
    assert refused(agent) == {"spec.mcp_servers[1].server_type": "only one of stdio, http, docker may be set"}


@pytest.mark.parametrize(
    ("message", "field", "words"),
    [
        (AgentId(value=b"x"), "value", "must be str, not bytes"),  # type: ignore[arg-type]  # the point of the test
        (AgentId(value=None), "value", "must be str, not NoneType"),  # type: ignore[arg-type]  # as above
        (AgentId(value="a\ud800"), "value", "is not valid Unicode: a surrogate stands alone"),
        (ListSessionsRequest(page_size=True), "page_size", "must be int, not bool"),
        (ListSessionsRequest(page_size=1 << 31), "page_size", "is out of range"),
        (ListSessionsRequest(tags="ab"), "tags", "must be list, not str"),  # type: ignore[arg-type]  # as above
        (ListSessionsRequest(tags=["a", 1]), "tags", "must be str, not int"),  # type: ignore[list-item]  # as above
        (ApiResourceMetadata(labels={1: "a"}), "labels", "a key must be str, not int"),  # type: ignore[dict-item]  # "
        (ApiResourceMetadata(labels={"a": 1}), "labels", "must be str, not int"),  # type: ignore[dict-item]  # "
        (ApiResourceMetadata(labels=[]), "labels", "must be dict, not list"),  # type: ignore[arg-type]  # as above
        (Agent(metadata=AgentSpec()), "metadata", "must be ApiResourceMetadata, not AgentSpec"),  # type: ignore[arg-type]  # "
        (AgentExecutionStatus(phase="x"), "phase", "must be int, not str"),  # type: ignore[arg-type]  # as above
        (Value(number_value=10**400), "number_value", "is out of range"),
        (
            Struct(fields={"\ud800": Value(number_value=1)}),
            'fields["\\ud800"]',
            "is not valid Unicode: a surrogate stands alone",
        ),
        (Struct(fields={"é": Value(number_value=10**400)}), 'fields["é"].number_value', "is out of range"),
        (
            ApiResourceAuditInfo(created_at=dt.datetime(2026, 1, 1)),  # noqa: DTZ001 - the point of the test
            "created_at",
            "must be a datetime with a time zone, not datetime",
        ),
    ],
)
def test_what_the_wire_cannot_hold_is_refused_by_its_path(message: Any, field: str, words: str) -> None:
    assert refused(message) == {field: words}


def test_an_object_of_no_generated_class_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="str is not a message class"):
        codec.to_wire("x")  # type: ignore[arg-type]  # the point of the test


def audited(**time: int) -> bytes:
    wire: Any = descriptors.message_class("ai.stigmer.agentic.session.v1.Session")()
    wire.status.audit.spec_audit.created_at.MergeFrom(
        descriptors.message_class("google.protobuf.Timestamp")(**time),
    )
    return stable(wire)


@pytest.mark.parametrize("time", [{"seconds": 1 << 60}, {"seconds": -(1 << 40)}, {"nanos": -1}, {"nanos": 10**9}])
def test_a_time_that_python_has_not_is_refused_by_its_path(time: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        codec.decode(Session, audited(**time))
    assert [one.field for one in caught.value.violations] == ["status.audit.spec_audit.created_at"]


def nested(levels: int) -> Struct:
    struct = Struct()
    for _ in range(levels):
        struct = Struct(fields={"a": Value(struct_value=struct)})
    return struct


def test_a_struct_nested_too_deep_is_refused_in_both_directions() -> None:
    deep: Any = descriptors.message_class(EXECUTION)()
    inner = deep.status.tool_calls.add().args
    for _ in range(MAX_RECURSION // 2 + 1):
        inner = inner.fields["a"].struct_value
    inner.SetInParent()
    with pytest.raises(InvalidArgument, match="is nested more than 60 levels deep"):
        codec.decode(AgentExecution, stable(deep))
    assert set(refused(nested(MAX_RECURSION // 2 + 1)).values()) == {"is nested more than 60 levels deep"}


def test_an_object_that_contains_itself_is_refused() -> None:
    values = ListValue()
    values.values = [Value(list_value=values), Value(list_value=values)]
    assert "is nested more than 60 levels deep" in refused(values).values()


def test_nanoseconds_are_cut_to_microseconds() -> None:
    session = codec.decode(Session, audited(seconds=1, nanos=1999))
    created = dt.datetime(1970, 1, 1, 0, 0, 1, 1, dt.UTC)
    spec_audit = ApiResourceAuditInfo(created_at=created)
    assert session.status == ApiResourceAuditStatus(audit=ApiResourceAudit(spec_audit=spec_audit))


def test_what_may_be_stored_can_be_listed_by_any_client() -> None:
    call = ToolCall(args=nested(MAX_RECURSION // 2))
    listed = AgentExecutionList(entries=[AgentExecution(status=AgentExecutionStatus(tool_calls=[call]))])
    assert codec.decode(AgentExecutionList, codec.encode(listed)) == listed
