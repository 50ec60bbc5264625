"""The commands that lead to a server which knows its callers do what the pages say."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.servers import free_port
from container_files import parse_compose, stages
from markdown_text import blocks, document

from stigmer import rpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stigmer.types import Caller

BIN = Path(sys.executable).parent
VOLUME = "/var/lib/stigmer"
SERVICE = parse_compose(document("docker-compose.yml"))["services"]["stigmer"]


def commands(page: str) -> list[str]:
    """Those of the block that makes a token."""
    (block,) = [block for block in blocks(document(page)) if "tokens new" in block.text]
    return [line[2:] for line in block.text.splitlines()]


class Shell:
    """A user's: a home, a directory, and `stigmer` on the path."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STIGMER_")}
        self.env = {**inherited, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", **variables}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, shell=True, cwd=self.home, env=self.env, capture_output=True, text=True, check=False, timeout=60
        )

    @contextmanager
    def runs(self, command: str) -> Iterator[None]:
        """While the block runs, and it has said that it serves."""
        parts = shlex.split(command)
        with subprocess.Popen(parts, cwd=self.home, env=self.env, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            try:
                said = []
                for line in process.stderr:
                    said.append(line)
                    if "stigmer serves" in line:
                        break
                assert any("stigmer serves" in line for line in said), "".join(said)
                yield
            finally:
                process.terminate()


async def whoami(port: int, token: str, ca: Path | None = None) -> Caller:
    tls = rpc.tls_context(ca) if ca else False
    async with rpc.channel(f"localhost:{port}", tls=tls) as channel:
        return await rpc.CallerQueryControllerStub(channel).whoami(metadata={"authorization": f"Bearer {token}"})


def test_five_commands_lead_to_a_server_that_knows_its_caller(tmp_path: Path) -> None:
    install, certificate, token, serve, call = commands("docs/callers.md")
    assert install == "pip install ."
    shell, port = Shell(tmp_path), free_port()
    for command in (certificate, token):
        assert shell.run(command).returncode == 0
    assert (tmp_path / "server.key").stat().st_mode & 0o077 == 0
    with shell.runs(serve.replace("7234", str(port)).replace("0.0.0.0", "127.0.0.1")):
        _, _, ca, _, header, _, path = shlex.split(call)
        secret = (tmp_path / "ann.token").read_text().strip()
        assert header.replace("$(cat ann.token)", secret) == f"authorization: Bearer {secret}"
        assert path == "ai.stigmer.iam.caller.v1.CallerQueryController/whoami"
        caller = asyncio.run(whoami(port, secret, tmp_path / ca))
    assert (caller.name, caller.role, caller.organizations) == ("ann", "editor", ["acme"])


def container(home: Path, *given: dict[str, str]) -> Shell:
    """What the image sets, and what more it is given, with a directory in place of the volume and a free port."""
    _, run = stages(document("Dockerfile"))
    image = dict(part.split("=", 1) for one in run if one.name == "ENV" for part in one.value.split() if "=" in part)
    variables = {**image, **{name: value for more in given for name, value in more.items()}}
    variables = {name: value.replace(VOLUME, str(home)) for name, value in variables.items() if name != "PATH"}
    variables["STIGMER_LISTEN"] = variables["STIGMER_LISTEN"].replace("7234", str(free_port()))
    return Shell(home, **variables)


def test_the_image_does_not_start_where_nobody_would_be_asked_who_they_are(tmp_path: Path) -> None:
    done = container(tmp_path).run("stigmer serve")
    assert done.returncode == 1
    assert "nobody is asked who they are: set tokens_file" in done.stderr


def test_the_composed_server_starts_once_a_token_was_made(tmp_path: Path) -> None:
    make, start = commands("docs/operations.md")
    assert make in document("docker-compose.yml")
    assert start in document("docker-compose.yml")
    shell = container(tmp_path, SERVICE["environment"])
    done = shell.run("stigmer serve")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"stigmer: {tmp_path}/tokens: no such file; `stigmer tokens new` makes it, with a first token",
    )
    prefix = "docker compose run --rm --build stigmer "
    assert make.startswith(prefix)
    secret = shell.run(f"stigmer {make.removeprefix(prefix)}").stdout.strip()
    with shell.runs("stigmer serve"):
        assert shell.run("stigmer health --timeout-s 50").stdout == "SERVING\n"
        port = int(shell.env["STIGMER_LISTEN"].rpartition(":")[2])
        assert asyncio.run(whoami(port, secret)).organizations == ["*"]
