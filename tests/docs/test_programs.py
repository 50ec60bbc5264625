"""Every program on a page of the documentation runs, twice in a row, and prints what the page says."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from markdown_text import PAGES, ROOT, blocks, document
from served_process import serving
from transit_server import transit

from stigmer.pipeline import rules
from stigmer.settings import Settings
from stigmer.wire import descriptors
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = [
    pytest.param(program.text, output.text, id=f"{page} {number}")
    for page in PAGES
    for number, (program, output) in enumerate(pairwise(blocks(document(page))))
    if program.language == "python"
]
GRPCURL = [
    line[2:]
    for page in PAGES
    for block in blocks(document(page))
    for line in block.text.splitlines()
    if line.startswith("$ grpcurl ")
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home of its own and none of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
    return {**kept, "HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def ports(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The ports of what the programs call, by those that the pages have: a server, and a key service."""
    with serving(env=environment) as server, transit() as transit_port:
        yield {"7234": str(server.address[1]), "8200": str(transit_port)}


def test_there_is_a_program_for_each_way_to_call() -> None:
    of = {page: sum(block.language == "python" for block in blocks(document(page))) for page in PAGES}
    assert {page: number for page, number in of.items() if number} == {
        "README.md": 1,
        "docs/callers.md": 1,
        "docs/calling.md": 3,
        "docs/client.md": 3,
        "docs/embedding.md": 4,
        "docs/errors.md": 1,
        "docs/secrets-how-to.md": 3,
        "docs/secrets.md": 1,
    }
    assert len(PROGRAMS) == 17


def test_the_programs_import_nothing_that_is_not_public() -> None:
    code = [ast.parse(str(program.values[0])) for program in PROGRAMS]
    found = {node.module or "" for tree in code for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in found if name.startswith("stigmer")} == {
        "stigmer",
        "stigmer.rpc",
        "stigmer.sync",
        "stigmer.types",
    }


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_the_page_says(
    program: str, output: str, ports: dict[str, str], environment: dict[str, str], tmp_path: Path
) -> None:
    for shown, port in ports.items():
        program = program.replace(shown, port)
    for _ in range(2):
        done = run(program, environment, tmp_path)
        assert without_ids(done) == without_ids(output)


def run(program: str, environment: dict[str, str], directory: Path) -> str:
    """What the program prints; it must end well, and warn of nothing."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a user's, with each program in a file of its own."""
    directory = tmp_path_factory.mktemp("programs")
    for number, program in enumerate(PROGRAMS):
        (directory / f"program_{number}.py").write_text(str(program.values[0]))
    (directory / "mypy.ini").write_text(
        "[mypy]\nstrict = True\n[mypy-grpc.*,grpc_reflection.*]\nignore_missing_imports = True\n"
    )
    (directory / "pyrightconfig.json").write_text('{"include": ["."], "typeCheckingMode": "strict"}')
    return directory


def test_the_programs_pass_mypy_strict(files: Path) -> None:
    """It takes 4 s where it has not been run before: it reads all of stigmer, as for any user."""
    said = checked(files, "mypy", "--no-error-summary", f"--cache-dir={ROOT / '.mypy_cache' / 'programs'}", ".")
    assert said == ""


def test_the_programs_pass_pyright_strict(files: Path) -> None:
    """It takes 3 s: a process of node, and all of stigmer."""
    said = checked(files, "basedpyright", "--pythonpath", sys.executable)
    assert said == "0 errors, 0 warnings, 0 notes"


def checked(directory: Path, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=250, check=False)
    return done.stdout.strip()


def without_ids(text: str) -> str:
    return re.sub(r"\b([a-z]{3,4})-[0-7][0-9a-hjkmnp-tv-z]{25}\b", r"\1-*", text)


@pytest.mark.parametrize("command", GRPCURL)
def test_a_grpcurl_command_names_a_method_and_sends_what_it_takes(command: str) -> None:
    address = Settings.model_fields["listen"].default[0]
    match shlex.split(command):
        case ["grpcurl", "-plaintext", "-d", data, host, path] if host == address:
            request = descriptors.message_class(descriptors.methods()[f"/{path}"].request)()
            json_format.Parse(data, request, descriptor_pool=descriptors.POOL)
            assert at_once(rules.violations(request)) == []
        case ["grpcurl", "-cacert", "server.pem", "-H", header, host, path] if host.endswith(":7234"):
            assert header.startswith("authorization: Bearer ")
            assert f"/{path}" in descriptors.methods()
        case ["grpcurl", "-plaintext", host, "describe", name] if host == address:
            assert descriptors.POOL.FindMessageTypeByName(name).full_name == name
        case other:
            assert other == ["grpcurl", "-plaintext", address, "list"]


def test_the_grpcurl_commands_are_there() -> None:
    assert len(GRPCURL) == 7
