"""Programs in Go and in Node, made from protos/ as a stranger would, call a server.

They fetch compilers and libraries by npm and go, so they run with the long tests, and where both are there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from markdown_text import ROOT
from served_process import served

HERE = Path(__file__).parent
PROTOC_GEN_GO = "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12"
PROTOC_GEN_GO_GRPC = "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2"
BUF = "@bufbuild/buf@1.75.0"
NPM = ("npm", "install", "--no-audit", "--no-fund", "--silent")

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


async def out_of(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What the command prints; it must end well."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=pipe, stderr=pipe
    )
    out, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return out.decode()


async def fetched(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Run a command that fetches packages; the test is skipped where their registry is out of reach."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    try:
        await out_of(*command, cwd=cwd, env=env)
    except AssertionError as error:
        pytest.skip(f"{command[0]} fetched nothing: {error}")


def copied(language: str, directory: Path) -> Path:
    """The program's sources beside a copy of protos/, in a directory of their own."""
    shutil.copytree(HERE / language, directory / language)
    shutil.copytree(ROOT / "protos", directory / language / "protos")
    return directory / language


async def test_a_go_program_of_classes_that_buf_generates(tmp_path: Path) -> None:
    program = copied("go", tmp_path)
    tools = {"GOBIN": str(tmp_path / "bin"), "GOFLAGS": "-mod=mod"}
    for plugin in (PROTOC_GEN_GO, PROTOC_GEN_GO_GRPC):
        await fetched("go", "install", plugin, cwd=tmp_path, env=tools)
    await fetched(*NPM, "--prefix", str(tmp_path), BUF, cwd=tmp_path)
    buf = tmp_path / "node_modules" / ".bin" / "buf"
    await out_of(buf, "generate", cwd=program, env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    await fetched("go", "mod", "tidy", cwd=program, env=tools)
    await out_of("go", "build", "-o", tmp_path / "stranger", ".", cwd=program, env=tools)
    async with served(tmp_path / "data") as server:
        said = await out_of(tmp_path / "stranger", f"127.0.0.1:{server.address[1]}", cwd=tmp_path)
    assert said.split() == [
        "written-in-go",
        "InvalidArgument",
        *("api_version", "kind", "metadata", "spec"),
        "EXECUTION_PENDING",
        "EXECUTION_COMPLETED",
    ]


async def test_a_node_program_that_loads_the_protos_as_they_are(tmp_path: Path) -> None:
    program = copied("node", tmp_path)
    await fetched(*NPM, cwd=program)
    async with served(tmp_path / "data") as server:
        address = f"127.0.0.1:{server.address[1]}"
        said = await out_of("node", "client.js", program / "protos", address, cwd=program)
    assert said.split() == ["written-in-node", "INVALID_ARGUMENT", "EXECUTION_PENDING", "EXECUTION_COMPLETED"]


async def test_the_protos_are_a_module_of_buf_s_that_needs_nothing_else(tmp_path: Path) -> None:
    await fetched(*NPM, "--prefix", str(tmp_path), BUF, cwd=tmp_path)
    buf = tmp_path / "node_modules" / ".bin" / "buf"
    await out_of(buf, "build", ROOT / "protos", "-o", tmp_path / "image.binpb", cwd=tmp_path)
