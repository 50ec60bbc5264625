"""Secret values are found wherever a resource can hold them, taken out whole, and put back only where they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from wire_strategies import messages

from stigmer.errors import DataLoss
from stigmer.secrets import fields
from stigmer.secrets.fields import MARK, Place
from stigmer.wire.descriptors import descriptor, message_class

AGENTIC = "ai.stigmer.agentic"
KINDS = {
    "Agent": f"{AGENTIC}.agent.v1.Agent",
    "AgentExecution": f"{AGENTIC}.agentexecution.v1.AgentExecution",
    "Environment": f"{AGENTIC}.environment.v1.Environment",
    "ExecutionContext": f"{AGENTIC}.executioncontext.v1.ExecutionContext",
}
PLAIN = (f"{AGENTIC}.agentinstance.v1.AgentInstance", f"{AGENTIC}.session.v1.Session")


def new(kind: str) -> Any:
    wire: Any = message_class(KINDS[kind])()
    wire.metadata.id = "id-1"
    return wire


def environment(**values: tuple[str, bool]) -> Any:
    wire = new("Environment")
    for key, (value, is_secret) in values.items():
        wire.spec.data[key].value = value
        wire.spec.data[key].is_secret = is_secret
        wire.spec.data[key].description = f"about {key}"
    return wire


def test_kinds_that_cannot_hold_secrets_are_known_by_their_type() -> None:
    assert all(fields.may_hold(name) for name in KINDS.values())
    assert not any(fields.may_hold(name) for name in PLAIN)


def test_a_flagged_value_is_taken_and_its_name_flag_and_description_stay() -> None:
    wire = environment(TOKEN=("s3cret", True), REGION=("eu", False))
    assert fields.take(wire) == ({Place("spec.data", "TOKEN"): b"s3cret"}, 0)
    assert wire == environment(TOKEN=("", True), REGION=("eu", False))


@pytest.mark.parametrize(("kind", "path"), [("Agent", "spec.env_spec.data"), ("AgentExecution", "spec.runtime_env")])
def test_a_map_is_found_wherever_it_stands(kind: str, path: str) -> None:
    wire = held = new(kind)
    for name in path.split("."):
        held = getattr(held, name)
    held["Käse\n"].value, held["Käse\n"].is_secret = "geheim", True
    assert fields.secret_values(wire) == {Place(path, "Käse\n"): b"geheim"}


def test_both_callback_tokens_of_an_execution_are_secrets() -> None:
    wire = new("AgentExecution")
    wire.spec.callback_token, wire.status.callback_token = b"\xff\x00", b"later"
    taken, _ = fields.take(wire)
    assert taken == {Place("spec.callback_token", ""): b"\xff\x00", Place("status.callback_token", ""): b"later"}
    assert not wire.spec.callback_token
    assert not wire.status.callback_token


def test_an_empty_value_is_no_secret() -> None:
    assert fields.take(environment(DECLARED=("", True))) == ({}, 0)


def test_unknown_fields_of_a_flagged_value_alone_are_dropped_and_counted() -> None:
    wire = environment(TOKEN=("s3cret", True), EMPTY=("", True), REGION=("eu", False))
    for value in wire.spec.data.values():
        value.MergeFromString(b"\x9a\x9c\x02\x04fold")
    wire.MergeFromString(b"\x9a\x9c\x02\x04kept")
    assert fields.take(wire)[1] == 2
    data = wire.SerializeToString()
    assert data.count(b"fold") == 1, "the unflagged one keeps it"
    assert data.count(b"kept") == 1


def test_values_go_back_where_they_were() -> None:
    wire = environment(TOKEN=("s3cret", True), REGION=("eu", False))
    taken, _ = fields.take(wire)
    fields.put(wire, taken)
    assert wire == environment(TOKEN=("s3cret", True), REGION=("eu", False))


def test_the_mark_stands_where_values_are_sealed_and_nowhere_else() -> None:
    wire = environment(TOKEN=("", True), DECLARED=("", True), REGION=("eu", False))
    fields.mark(wire, [Place("spec.data", "TOKEN")])
    assert wire == environment(TOKEN=(MARK, True), DECLARED=("", True), REGION=("eu", False))
    execution = new("AgentExecution")
    execution.spec.SetInParent()
    fields.mark(execution, [Place("spec.callback_token", "")])
    assert execution.spec.callback_token == MARK.encode()


@pytest.mark.parametrize(
    "row",
    [
        environment(OTHER=("", True)),
        environment(TOKEN=("", False)),
        environment(TOKEN=("planted", True)),
        environment(TOKEN=("planted", False)),
        environment(),
    ],
    ids=["another key", "flag flipped", "has a value", "flag flipped, has a value", "key gone"],
)
def test_values_do_not_go_into_a_row_that_they_were_not_taken_from(row: Any) -> None:
    with pytest.raises(DataLoss, match="Environment id-1") as refused:
        fields.put(row, {Place("spec.data", "TOKEN"): b"s3cret"})
    assert "s3cret" not in str(refused.value)


def test_a_transcript_is_never_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = new("AgentExecution")
    wire.spec.callback_token = b"t"
    looked_at: list[str] = []
    original = fields._walk

    def watched(message: Any, at: str, key: str) -> Any:
        looked_at.append(message.DESCRIPTOR.name)
        return original(message, at, key)

    monkeypatch.setattr(fields, "_walk", watched)
    wire.status.messages.add().content = "hello"
    wire.status.todos["1"].content = "think"
    assert len(list(fields.entries(wire))) == 2
    assert looked_at == ["AgentExecution", "AgentExecutionSpec", "AgentExecutionStatus"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages(descriptor(KINDS["Environment"])))
def test_whatever_is_taken_is_gone_and_goes_back(wire: Any) -> None:
    before = fields.secret_values(wire)
    taken, dropped = fields.take(wire)
    assert taken == before
    assert fields.secret_values(wire) == {}
    assert fields.take(wire) == ({}, 0)
    fields.put(wire, taken)
    assert fields.secret_values(wire) == before
    assert dropped >= 0
