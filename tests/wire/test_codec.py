"""What goes in comes out."""

from __future__ import annotations

import copy
import datetime as dt
from typing import TYPE_CHECKING, Any

import betterproto2
import pytest
from effort import examples
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler
from grpclib.testing import ChannelFor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_strategies import any_message, message_names, messages, stable, unknown_fields

from stigmer._gen.ai.stigmer.agentic.agent.v1 import (
    Agent,
    AgentId,
    AgentQueryControllerStub,
)
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import (
    AgentExecutionStatus,
    ExecutionPhase,
)
from stigmer._gen.ai.stigmer.agentic.session.v1 import AgentId as SessionAgentId
from stigmer._gen.ai.stigmer.agentic.session.v1 import Session
from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceMetadata,
)
from stigmer._gen.google.protobuf import Value
from stigmer.errors import InvalidArgument
from stigmer.rpc import Codec
from stigmer.wire import codec, descriptors, scalars
from stigmer.wire.message_types import object_class, python_names

if TYPE_CHECKING:
    from google.protobuf.message import Message

NAMES = message_names()
STRUCT = "google.protobuf.Struct"
quick = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
thorough = settings(deadline=None, max_examples=examples(100, 5_000), suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", [*NAMES, STRUCT])
def test_every_type_survives_the_trip_through_an_object(name: str) -> None:
    @quick
    @given(messages(descriptors.descriptor(name)))
    def trip(wire: Message) -> None:
        data = stable(wire)
        parsed = codec.parse(name, data)
        back = codec.to_wire(codec.from_wire(parsed))
        assert stable(back) == data == stable(parsed)
        assert type(back) is type(wire)

    trip()


@pytest.mark.longer
@thorough
@given(any_message(), st.data())
def test_mutated_bytes_are_refused_exactly_where_the_c_runtime_refuses_them(wire: Message, data: st.DataObject) -> None:
    raw = bytearray(wire.SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        type(wire).FromString(bytes(raw))
    except DecodeError:
        with pytest.raises(InvalidArgument, match=f"^the request is not a valid {wire.DESCRIPTOR.full_name}: [A-Z]"):
            codec.parse(wire.DESCRIPTOR.full_name, bytes(raw))
    else:
        parsed = codec.parse(wire.DESCRIPTOR.full_name, bytes(raw))
        try:
            codec.to_wire(codec.from_wire(parsed))
        except InvalidArgument as error:  # a time that Python has not: the one thing that is refused later
            assert "is no date" in error.message  # noqa: PT017 - it may as well not be raised


@quick
@given(any_message())
def test_a_decoded_object_shares_nothing_with_its_source(wire: Message) -> None:
    before = stable(wire)
    message = codec.from_wire(wire)
    wreck(message)
    assert stable(wire) == before == stable(codec.to_wire(codec.from_wire(wire)))


def wreck(value: object) -> None:
    for inner in list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()):
        wreck(inner)
    if isinstance(value, (dict, list)):
        value.clear()
    elif isinstance(value, betterproto2.Message):
        for name in python_names(type(value)).values():
            wreck(getattr(value, name))
            setattr(value, name, None)


@quick
@given(unknown_fields(st.integers(1, 3)).filter(bool))
def test_a_known_number_in_another_wire_type_is_kept_as_the_runtime_keeps_it(raw: bytes) -> None:
    name = "ai.stigmer.commons.apiresource.ApiResourceMetadataVersion"
    try:
        parsed = descriptors.message_class(name).FromString(raw)
    except DecodeError:
        return
    assert stable(codec.to_wire(codec.from_wire(parsed))) == stable(parsed)


def test_unknown_fields_are_kept_at_every_level() -> None:
    inner = b"\xaa\xf7\x02\x03new"
    raw = inner + b"\x1a" + bytes([len(inner) + 3]) + b"\x0a\x01n" + inner
    session = codec.decode(Session, raw)
    assert session.metadata is not None
    assert (session.metadata.name, session.metadata._unknown_fields, session._unknown_fields) == ("n", inner, inner)
    assert codec.parse(Session, codec.encode(session)) == codec.parse(Session, raw)


def test_an_enum_number_without_a_name_is_kept() -> None:
    status = codec.decode(AgentExecutionStatus, b"\x10\x4d")
    assert (status.phase, isinstance(status.phase, ExecutionPhase)) == (77, True)
    assert codec.encode(status) == b"\x10\x4d"


def test_a_number_may_stand_for_an_enum_and_an_int_for_a_float() -> None:
    assert codec.encode(AgentExecutionStatus(phase=3)) == b"\x10\x03"  # type: ignore[arg-type]  # the point of the test
    assert codec.decode(Value, codec.encode(Value(number_value=2))).number_value == 2.0


@given(st.timedeltas(dt.timedelta(days=-3_650_000), dt.timedelta(days=3_650_000)))
def test_a_length_of_time_survives_in_both_directions(span: dt.timedelta) -> None:
    wire: Any = descriptors.message_class("google.protobuf.Duration")()
    scalars.write_span(wire, span)
    assert wire.seconds * wire.nanos >= 0
    assert scalars.read_span(wire) == span


def test_a_struct_says_the_same_in_json_before_and_after() -> None:
    said = {"a": [1.5, "x", None, True, {"b": {}}], "c": {"d": []}}
    wire = json_format.ParseDict(said, descriptors.message_class(STRUCT)())
    assert json_format.MessageToDict(codec.to_wire(codec.from_wire(wire))) == said


def test_equal_objects_have_equal_bytes() -> None:
    labels = {str(number): "x" for number in range(50)}
    backwards = dict(reversed(labels.items()))
    one, other = ApiResourceMetadata(labels=labels), ApiResourceMetadata(labels=backwards)
    assert codec.encode(one) == codec.encode(other) == codec.encode(copy.deepcopy(one))


def test_classes_of_one_name_in_two_packages_are_not_mixed_up() -> None:
    assert object_class("ai.stigmer.agentic.session.v1.AgentId") is SessionAgentId
    with pytest.raises(TypeError, match="the method wants AgentId, not AgentId"):
        Codec().encode(SessionAgentId("x"), AgentId)


class Agents:
    """Answers from bytes, as a stored row would."""

    async def get(self, stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(codec.Encoded(Agent, codec.encode(Agent(kind=request.value))))

    def __mapping__(self) -> dict[str, Handler]:
        path = "/ai.stigmer.agentic.agent.v1.AgentQueryController/get"
        return {path: Handler(self.get, Cardinality.UNARY_UNARY, AgentId, Agent)}


async def test_a_grpclib_stub_and_server_speak_through_the_codec() -> None:
    async with ChannelFor([Agents()], codec=Codec()) as channel:
        assert await AgentQueryControllerStub(channel).get(AgentId("agt-1")) == Agent(kind="agt-1")


def test_encoded_bytes_decode_to_their_message() -> None:
    assert codec.Encoded(AgentId, b"\x0a\x01x").decode() == AgentId("x")
