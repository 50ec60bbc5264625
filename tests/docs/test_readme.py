"""What README.md says is so: its programs run, its tables are what the code says, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from markdown_text import ROOT, blocks, document, quoted, table

from stigmer import errors
from stigmer.handlers import HANDLERS
from stigmer.pipeline import rules
from stigmer.settings import Settings
from stigmer.wire import bounds, descriptors, scan
from stigmer.wire.message_types import full_name_of
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import betterproto2

README = document("README.md")
BLOCKS = blocks(README)
PROGRAMS = [
    pytest.param(program.text, output.text, id=f"program {number}")
    for number, (program, output) in enumerate(pairwise(BLOCKS), 1)
    if program.language == "python"
]
COMMANDS = [line[2:] for block in BLOCKS if block.language == "console" for line in block.text.splitlines()]
GRPCURL = [command for command in COMMANDS if command.startswith("grpcurl ")]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home of its own and none of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    return {**kept, "HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def port(environment: dict[str, str]) -> Iterator[str]:
    """The port of a server that the README's programs call."""
    command = [sys.executable, "-m", "stigmer", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        lines = (json.loads(line) for line in server.stderr)
        address = next(line["listen"] for line in lines if line["event"] == "stigmer serves")
        drain = threading.Thread(target=server.stderr.read)
        drain.start()
        yield address.rpartition(":")[2]
        server.terminate()
        drain.join()


def test_the_readme_has_a_program_for_each_way_to_call() -> None:
    assert len(PROGRAMS) == sum(block.language == "python" for block in BLOCKS) == 4


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_the_readme_says(
    program: str, output: str, port: str, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(program.replace("7234", port), environment, tmp_path)
    assert without_ids(done) == without_ids(output)


def test_the_first_program_can_be_run_again(port: str, environment: dict[str, str], tmp_path: Path) -> None:
    first = next(block.text for block in BLOCKS if block.language == "python").replace("7234", port)
    assert without_ids(run(first, environment, tmp_path)) == without_ids(run(first, environment, tmp_path))


def run(program: str, environment: dict[str, str], directory: Path) -> str:
    """What the program prints; it must end well, and warn of nothing."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def without_ids(text: str) -> str:
    return re.sub(r"\b([a-z]{3,4})-[0-7][0-9a-hjkmnp-tv-z]{25}\b", r"\1-*", text)


@pytest.mark.parametrize("command", GRPCURL)
def test_a_grpcurl_command_names_a_method_and_sends_what_it_takes(command: str) -> None:
    address = Settings.model_fields["listen"].default
    match shlex.split(command):
        case ["grpcurl", "-plaintext", "-d", data, host, path] if host == address:
            request = descriptors.message_class(descriptors.methods()[f"/{path}"].request)()
            json_format.Parse(data, request, descriptor_pool=descriptors.POOL)
            assert at_once(rules.violations(request)) == []
        case ["grpcurl", "-plaintext", host, "describe", name] if host == address:
            assert descriptors.POOL.FindMessageTypeByName(name).full_name == name
        case other:
            assert other == ["grpcurl", "-plaintext", address, "list"]


def test_the_grpcurl_commands_are_there() -> None:
    assert len(GRPCURL) == 6


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = re.findall(r"^([a-z]+):", document("Makefile"), re.MULTILINE)
    named = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert named == ["demo", "test"]
    assert set(named) <= set(targets)


def test_the_table_of_settings_is_the_settings() -> None:
    assert [row_of(name) for name in Settings.model_fields] == table(README, "Flag")


def row_of(name: str) -> dict[str, str]:
    field = Settings.model_fields[name]
    flag = f"`--{name.replace('_', '-')}`"
    default: Any = "~/.stigmer" if name == "data_dir" else field.default
    if isinstance(default, bool):
        flag, default = f"{flag}, `--no-{name}`", "on" if default else "off"
    if isinstance(default, float):
        default = f"{default:g}"
    return {
        "Flag": flag,
        "Variable": f"`STIGMER_{name.upper()}`",
        "Default": f"`{default}`" if default is not None else "",
        "Meaning": field.description or "",
    }


def test_the_table_of_kinds_names_every_kind_with_its_rpcs() -> None:
    rows = {row["Kind"]: row for row in table(README, "Kind")}
    assert rows.keys() == {handler.kind.name for handler in HANDLERS}
    for handler in HANDLERS:
        kind = handler.kind
        package = f"ai.stigmer.agentic.{kind.name.lower()}.v1"
        for column, role in (("Commands", "Command"), ("Queries", "Query")):
            service = f"{package}.{kind.name}{role}Controller"
            served = {method.name for method in descriptors.methods().values() if method.service == service}
            assert set(quoted(rows[kind.name][column])) == served
        assert quoted(rows[kind.name]["Id"]) == [kind.meta.id_prefix]


def test_the_table_of_kinds_names_the_owner_scopes_that_each_takes() -> None:
    rows = {row["Kind"]: row["Owner scopes"] for row in table(README, "Kind")}
    said = {"any": ["any"], "unset only": ["unset"]}
    for handler in HANDLERS:
        cell = rows[handler.kind.name]
        assert said.get(cell, quoted(cell)) == scopes_of(handler.kind.message)


def scopes_of(kind: type[betterproto2.Message]) -> list[str]:
    """The owner scopes that the kind's rules let pass."""
    wire: Any = descriptors.message_class(full_name_of(kind))()
    scopes = wire.metadata.DESCRIPTOR.fields_by_name["owner_scope"].enum_type.values
    allowed: list[str] = []
    for scope in scopes:
        wire.metadata.owner_scope = scope.number
        if all(broken.field != "metadata.owner_scope" for broken in at_once(rules.violations(wire))):
            allowed.append(scope.name if scope.number else "unset")
    return ["any"] if len(allowed) == len(scopes) else allowed


def test_the_table_of_errors_names_every_code_that_callers_see() -> None:
    rows = {row["Code"]: row["Detail (google.rpc)"] for row in table(README, "Code")}
    seen = {kind.code.name for kind in errors.StigmerError.__subclasses__()} - {"CANCELLED"}
    assert rows.keys() == seen
    details = {re.split(r"[:,]", detail)[0] for detail in rows.values()} - {""}
    assert details <= set(error_details_pb2.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document(name))
    here = (ROOT / name).parent
    assert [target for target in targets if "://" not in target and not (here / target).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_no_document_names_a_package_index_or_a_machine_of_ours(name: str) -> None:
    text = document(name)
    assert "/work/" not in text
    assert "index-url" not in text


def test_the_table_of_limits_has_the_numbers_that_are_checked() -> None:
    rows = table(README, "What")
    told = [[int(number) for number in re.findall(r"\b[0-9]+\b", row["At most"])] for row in rows]
    checked = [
        [bounds.NAME.chars, bounds.AGENT_NAME.chars],
        [bounds.TAGS.entries, bounds.TAGS.chars],
        [bounds.LABELS.entries, bounds.LABELS.key_chars, bounds.LABELS.chars],
        [bounds.ANNOTATIONS.entries, bounds.ANNOTATIONS.key_chars, bounds.ANNOTATIONS.chars],
        [bounds.DEFAULT.entries, bounds.DEFAULT.key_chars],
        [],
        [],
        [bounds.MAX_PARTS],
        [scan.MAX_FIELDS, scan.MAX_UNKNOWN_FIELDS, scan.MAX_UNKNOWN_BYTES],
    ]
    assert told[: len(checked)] == checked
    assert f"of up to {rules.MAX_PARTS} parts" in README


def test_the_limits_that_can_be_set_are_settings() -> None:
    flags = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    named = [flag for row in table(README, "What") for flag in re.findall(r"`(--[a-z-]+)`", row["At most"])]
    assert named
    assert [flag for flag in named if flag not in flags] == []
