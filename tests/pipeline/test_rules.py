"""Every broken rule is named by its path, in words that hold no value of the message."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from wire_strategies import message_names

from stigmer.pipeline import rules
from stigmer.wire import descriptors
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    from google.protobuf.message import Message

PREFIX = "ai.stigmer.agentic."
COUNTER = itertools.count()
METADATA = {"name": "Helper", "owner_scope": "organization"}


def wire(type_: str, **fields: Any) -> Message:
    return json_format.ParseDict(fields, descriptors.message_class(PREFIX + type_)(), descriptor_pool=descriptors.POOL)


def resource(type_: str, spec: dict[str, Any], **metadata: Any) -> Message:
    kind = type_.rpartition(".")[2]
    merged = METADATA | metadata
    return wire(type_, api_version="agentic.stigmer.ai/v1", kind=kind, metadata=merged, spec=spec)


def broken(message: Message) -> dict[str, str]:
    return {one.field: one.description for one in at_once(rules.violations(message))}


def test_a_valid_resource_has_no_violations() -> None:
    assert at_once(rules.violations(resource("agent.v1.Agent", {"instructions": "Answer in one line."}))) == []


def test_every_broken_field_is_named_not_only_the_first() -> None:
    spec = {
        "instructions": "short",
        "mcp_servers": [{"name": "a", "docker": {"image": "i", "ports": [{"host_port": 1}]}}],
        "skill_refs": [{"kind": "skill"}, {"kind": "agent"}],
        "sub_agents": [{"instructions": "Do as you are told."}],
    }
    found = broken(resource("agent.v1.Agent", spec, name="", slug="Not A Slug", owner_scope="identity_account"))
    assert found == {
        "metadata.name": "must be at least 1 characters",
        "metadata.slug": "does not match regex pattern `^([a-z0-9]+(-[a-z0-9]+)*)?$`",
        "metadata.owner_scope": "must be platform or organization",
        "spec.instructions": "must be at least 10 characters",
        "spec.mcp_servers[0].docker.ports[0].container_port": "must be greater than or equal to 1",
        "spec.skill_refs[1]": "must refer to a resource of kind skill",
        "spec.sub_agents[0].name": "value is required",
    }


def test_metadata_and_spec_are_required() -> None:
    assert broken(wire("session.v1.Session", api_version="agentic.stigmer.ai/v1", kind="Session")) == {
        "metadata": "value is required",
        "spec": "value is required",
    }


def test_a_map_entry_is_named_by_its_key() -> None:
    data = {"KEY": {"value": ""}, 'odd "key"': {"value": ""}, "FINE": {"value": "x"}}
    spec = {"execution_id": "aex-1", "data": data}
    found = broken(resource("executioncontext.v1.ExecutionContext", spec, owner_scope="platform"))
    assert set(found) == {"metadata.owner_scope", 'spec.data["KEY"].value', 'spec.data["odd \\"key\\""].value'}


@pytest.mark.parametrize("slug", ["", "a", "agent-2", "0-0-0"])
def test_a_slug_in_the_form_that_the_server_makes_is_accepted(slug: str) -> None:
    assert broken(resource("agent.v1.Agent", {"instructions": "Answer in one line."}, slug=slug)) == {}


@pytest.mark.parametrize("slug", ["-", "a-", "-a", "a--b", "A", "a b", "a\n", "ä", "a_b"])
def test_a_slug_in_another_form_is_refused(slug: str) -> None:
    found = broken(resource("agent.v1.Agent", {"instructions": "Answer in one line."}, slug=slug))
    assert list(found) == ["metadata.slug"]


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("agent.v1.Agent", {"platform", "organization"}),
        ("agentinstance.v1.AgentInstance", {"unspecified", "platform", "organization", "identity_account"}),
        ("session.v1.Session", {"organization", "identity_account"}),
        ("agentexecution.v1.AgentExecution", {"unspecified"}),
        ("environment.v1.Environment", {"organization", "identity_account"}),
        ("executioncontext.v1.ExecutionContext", {"unspecified"}),
    ],
)
def test_each_kind_allows_its_owner_scopes(kind: str, allowed: set[str]) -> None:
    accepted = set()
    for scope in ("unspecified", "platform", "organization", "identity_account"):
        value = "api_resource_owner_scope_unspecified" if scope == "unspecified" else scope
        if "metadata.owner_scope" not in broken(resource(kind, {}, owner_scope=value)):
            accepted.add(scope)
    assert accepted == allowed


def test_an_enum_value_that_is_not_defined_is_refused_where_the_rule_says_so() -> None:
    message = resource("agentinstance.v1.AgentInstance", {"agent_id": "agt-1"}, owner_scope=77)
    assert broken(message) == {"metadata.owner_scope": "value must be one of the defined enum values"}


@pytest.mark.parametrize("name", ["session.v1.ListSessionsRequest", "agentexecution.v1.ListAgentExecutionsRequest"])
def test_a_negative_page_size_is_refused(name: str) -> None:
    assert broken(wire(name, page_size=-1)) == {"page_size": "must be greater than or equal to 0"}
    assert broken(wire(name, page_size=0)) == {}


def test_no_description_repeats_a_value_of_the_message() -> None:
    secret = "s3cr3t-Value!"
    spec = {"instructions": "short", "skill_refs": [{"kind": "agent", "version": f"{secret} "}]}
    message = resource("agent.v1.Agent", spec, slug=secret)
    setattr(message, "kind", secret)  # noqa: B010 - the field is known to the descriptor alone
    assert len(broken(message)) == 5
    assert secret not in str(broken(message))


def test_rules_of_every_kind_compile() -> None:
    for name in message_names():
        rules.broken(descriptors.message_class(name)())


def oneof_message(*, cel_id: str = "") -> Message:
    """A message that requires one of two members; a rule of its own bears `cel_id`."""
    package = f"probe{next(COUNTER)}"  # the validator remembers names
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.append("buf/validate/validate.proto")
    message = file.message_type.add(name="Choice")
    message.oneof_decl.add(name="which")
    for number, name in enumerate(("left", "right"), 1):
        message.field.add(name=name, number=number, type=FieldDescriptorProto.TYPE_STRING, label=1, oneof_index=0)
    pool = DescriptorPool()
    for known in ("google/protobuf/descriptor", "google/protobuf/duration", "google/protobuf/field_mask"):
        pool.AddSerializedFile(descriptors.POOL.FindFileByName(f"{known}.proto").serialized_pb)
    pool.AddSerializedFile(descriptors.POOL.FindFileByName("google/protobuf/timestamp.proto").serialized_pb)
    pool.AddSerializedFile(descriptors.POOL.FindFileByName("buf/validate/validate.proto").serialized_pb)

    def rules(scope: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"buf.validate.{scope}Rules"))()

    def option(target: Any, scope: str, value: Any) -> None:
        name = f"google.protobuf.{scope}Options"
        options = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
        extension: Any = pool.FindExtensionByName(f"buf.validate.{scope.lower()}")
        options.Extensions[extension].MergeFrom(value)
        target.options.MergeFromString(options.SerializeToString())

    required = rules("Oneof")
    required.required = True
    option(message.oneof_decl[0], "Oneof", required)
    if cel_id:
        own = rules("Message")
        own.cel.add(id=cel_id, message="must be nothing", expression="false")
        option(message, "Message", own)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Choice"))()


def test_a_required_oneof_is_named_by_its_own_name() -> None:
    assert broken(oneof_message()) == {"which": "exactly one field is required in oneof"}


def test_a_rule_of_the_whole_message_is_about_the_field_its_id_begins_with() -> None:
    assert "left" in broken(oneof_message(cel_id="left.nothing"))
    assert "" in broken(oneof_message(cel_id="other.nothing"))
