"""Kinds, methods and their options come from the descriptor set, and from a pool of our own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool

from stigmer.wire import descriptors, shapes
from stigmer.wire.descriptors import Authorization

AGENT = "ai.stigmer.agentic.agent.v1"
COMMANDS = f"/{AGENT}.AgentCommandController"


def test_a_kind_is_found_by_its_name_and_by_its_number() -> None:
    kind = descriptors.kind_by_name("AgentExecution")
    assert (kind.number, kind.enum_name, kind.display_name) == (41, "agent_execution", "Agent Execution")
    assert (kind.id_prefix, kind.is_versioned) == ("aex", False)
    assert descriptors.kind_by_number(41) is kind


def test_kinds_have_names_and_prefixes_of_their_own() -> None:
    kinds = [descriptors.kind_by_number(number) for number in (1, 40, 41, 42, 43, 44, 45, 50, 51, 52, 53, 54)]
    assert len({kind.id_prefix for kind in kinds}) == len({kind.name for kind in kinds}) == len(kinds)
    assert descriptors.kind_by_name("Skill").is_versioned


@pytest.mark.parametrize("name", ["agent_execution", "Nothing", ""])
def test_an_unknown_kind_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        descriptors.kind_by_name(name)


def test_a_method_has_its_messages_and_its_authorization() -> None:
    method = descriptors.methods()[f"{COMMANDS}/create"]
    assert (method.service, method.name) == (f"{AGENT}.AgentCommandController", "create")
    assert (method.request, method.reply, method.server_streaming) == (f"{AGENT}.Agent", f"{AGENT}.Agent", False)
    assert method.kind == descriptors.kind_by_name("Agent")
    assert method.authorization == Authorization("can_create_agent", "organization", "", "metadata.org", "", "")
    assert (method.is_public, method.skip_authorization) == (False, False)


def test_a_method_without_options_has_no_authorization() -> None:
    method = descriptors.methods()[f"{COMMANDS}/apply"]
    assert (method.authorization, method.skip_authorization) == (None, False)


def test_a_method_can_decide_for_itself_what_the_caller_sees() -> None:
    path = "/ai.stigmer.agentic.agentinstance.v1.AgentInstanceQueryController/getByAgent"
    assert descriptors.methods()[path].skip_authorization


def test_what_follows_something_is_a_stream_and_nothing_else() -> None:
    streams = {method.name for method in descriptors.methods().values() if method.server_streaming}
    assert streams == {"exportAudit", "rewrapKeys", "subscribe", "tailAudit"}


def test_every_method_of_a_kind_belongs_to_one_that_its_service_names() -> None:
    methods = [method for method in descriptors.methods().values() if method.service.startswith("ai.stigmer.agentic.")]
    assert len(methods) > 30
    for method in methods:
        assert method.kind is not None
        assert method.service.rpartition(".")[2].startswith(method.kind.name)


def test_a_fixed_resource_id_is_part_of_the_authorization() -> None:
    path = "/ai.stigmer.agentic.executioncontext.v1.ExecutionContextQueryController/getByExecutionId"
    assert descriptors.methods()[path].authorization == Authorization("operator", "platform", "", "", "", "stigmer")


def test_the_process_wide_pool_learns_nothing() -> None:
    descriptors.message_class(f"{AGENT}.Agent")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(f"{AGENT}.Agent")


def test_a_field_that_is_no_map_has_no_map_parts() -> None:
    fields = descriptors.descriptor(f"{AGENT}.AgentSpec").fields_by_name
    with pytest.raises(TypeError, match="is no map"):
        shapes.map_parts(fields["description"])
    with pytest.raises(TypeError, match="holds no messages"):
        shapes.message_type(fields["description"])


def test_the_generated_code_brings_no_top_level_packages_of_its_own() -> None:
    code = "import sys; from stigmer.wire import codec, descriptors as d\n"
    code += "for one in d.methods().values(): codec.from_wire(d.message_class(one.reply)())\n"
    code += "print(sorted({'ai', 'buf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
