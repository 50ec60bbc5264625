"""Objects that are filled in when somebody touches them: like any other object, and free until then."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import samples

from stigmer._gen.ai.stigmer.agentic.agent.v1 import Agent
from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentExecution, AgentExecutionStatus, AgentMessage
from stigmer._gen.ai.stigmer.agentic.session.v1 import Session, SessionSpec
from stigmer._gen.google.protobuf import Struct, Value
from stigmer.errors import InvalidArgument
from stigmer.pipeline.kind import required
from stigmer.wire import codec
from stigmer.wire.lazy import Lazy, shallow_copy, untouched
from stigmer.wire.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    import betterproto2


def stored() -> Session:
    session: Session = samples.session(name="one", labels={"a": "1"}, tags=["t"])
    session._unknown_fields = b"\xf8\x07\x01"
    return session


def lazy(message: betterproto2.Message) -> Any:
    return codec.lazily(type(message), codec.encode(message))


def set_kind(made: Any) -> None:
    made.kind = "Session"


def delete_and_restore(made: Any) -> None:
    del made.kind
    made.kind = "Session"


TOUCHES: dict[str, Callable[[Any], object]] = {
    "a field": lambda made: made.metadata,
    "a method": lambda made: made.SerializeToString(),
    "a missing attribute": lambda made: getattr(made, "nothing", None),
    "its attributes": vars,
    "setting a field": set_kind,
    "deleting a field": delete_and_restore,
    "comparing": lambda made: made == stored(),
    "being compared": lambda made: stored() == made,
    "repr": repr,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "replace": lambda made: dataclasses.replace(made, kind="x"),
    "asdict": dataclasses.asdict,
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_each_touch_fills_an_object_in_and_makes_it_one_of_its_class(touch: str) -> None:
    made = lazy(stored())
    assert untouched(made) == codec.encode(stored())
    TOUCHES[touch](made)
    assert untouched(made) is None
    assert type(made) is Session
    assert made == stored()
    assert made._unknown_fields == b"\xf8\x07\x01"


def test_what_does_not_look_does_not_touch() -> None:
    made = lazy(stored())
    assert isinstance(made, Session)
    assert made.__class__ is Session
    assert dataclasses.is_dataclass(made)
    assert type(made).__qualname__ == "Session"
    codec.encode(made)
    codec.to_wire(made)
    masked(made)
    shallow_copy(made)
    assert untouched(made) is not None


def test_it_says_what_the_object_it_stands_for_says() -> None:
    real = codec.decode(Session, codec.encode(stored()))
    assert repr(lazy(stored())) == repr(real)
    assert dataclasses.asdict(lazy(stored())) == dataclasses.asdict(real)
    assert copy.deepcopy(lazy(stored())) == real
    assert dataclasses.replace(lazy(stored()), kind="x").kind == "x"
    assert pickle.loads(pickle.dumps(lazy(samples.session(name="one")))) == samples.session(name="one")
    assert lazy(stored()) == lazy(stored())
    assert lazy(stored()) != lazy(samples.session())
    assert lazy(stored()) != "a text"
    with pytest.raises(TypeError, match="unhashable"):
        hash(lazy(stored()))
    assert type(type(lazy(stored()))(kind="x")) is Session
    match lazy(stored()):
        case Session(kind=kind):
            assert kind == "Session"
        case _:
            raise AssertionError("no Session")


def test_an_untouched_one_is_written_as_its_bytes_and_a_touched_one_as_what_it_holds() -> None:
    data = codec.encode(stored())
    made = codec.lazily(Session, data)
    assert codec.encode(made) is data
    required(made.metadata).name = "two"
    assert codec.decode(Session, codec.encode(made)).metadata == dataclasses.replace(
        required(stored().metadata), name="two"
    )
    assert codec.decode(Session, data) == stored()


def test_messages_inside_are_filled_in_on_their_own() -> None:
    execution: AgentExecution = samples.agent_execution("ses-1")
    execution.status = AgentExecutionStatus(messages=[AgentMessage(content=str(number)) for number in range(3)])
    made = lazy(execution)
    made.metadata.name = "changed"
    assert untouched(made.status) is not None
    made.status.messages[1].content = "changed"
    assert [untouched(one) is None for one in made.status.messages] == [False, True, False]
    back = codec.decode(AgentExecution, codec.encode(made))
    assert required(back.metadata).name == "changed"
    assert [one.content for one in required(back.status).messages] == ["0", "changed", "2"]


def test_two_of_one_source_share_nothing() -> None:
    wire = codec.to_wire(stored())
    one, two = codec.lazily(Session, wire), codec.lazily(Session, wire)
    required(one.metadata).labels["spoiled"] = "yes"
    assert two == stored()
    three = shallow_copy(two)
    three.kind = "other"
    assert two == stored()
    assert codec.wire_of(codec.lazily(Session, wire)) is wire
    assert codec.to_wire(codec.lazily(Session, wire)) is not wire


def test_a_lazy_object_may_be_put_into_another_message() -> None:
    session = samples.session()
    session.spec = codec.lazily(SessionSpec, codec.encode(SessionSpec(subject="bytes")))
    assert codec.decode(Session, codec.encode(session)).spec == SessionSpec(subject="bytes")
    agent = samples.agent()
    agent.spec = lazy(SessionSpec(subject="of another type"))
    with pytest.raises(InvalidArgument, match="spec: must be AgentSpec"):
        codec.encode(agent)


def test_types_that_contain_themselves_are_filled_in_at_once() -> None:
    args = Struct(fields={"a": Value(string_value="b")})
    message = lazy(AgentMessage(metadata=args))
    assert not issubclass(type(codec.lazily(Struct, codec.to_wire(args))), Lazy)
    assert not issubclass(type(message.metadata), Lazy)
    assert message.metadata == args


def test_a_damaged_source_shows_when_it_is_touched() -> None:
    made = codec.lazily(Agent, b"\xff")
    for _ in range(2):
        with pytest.raises(Exception, match="Error parsing message"):
            _ = made.metadata
