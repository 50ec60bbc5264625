"""A read that would show a secret fails where its record cannot be written, and is well again when there is room."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

PROGRAM = """
import asyncio, pathlib, resource, sys
import samples
from audited import count
from edge_rig import Stubs, environments, id_of
from grpclib.exceptions import GRPCError
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceId
from stigmer.access.principal import Principal
from stigmer.app import embedded

limits = resource.getrlimit(resource.RLIMIT_FSIZE)

async def main():
    async with embedded(pathlib.Path(sys.argv[1])) as plane:
        admin = Stubs(plane.channel)
        reader = Stubs(plane.channel_as(Principal("rea", "reader", frozenset({"*"}))))
        wanted = samples.environment(org="acme")
        wanted.spec.data["TOKEN"] = environments.EnvironmentValue(value="canary", is_secret=True)
        asked = ApiResourceId(id_of(await admin.environments.create(wanted)))
        await reader.find_environments.get(asked)
        before = await count(plane._store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        for _ in range(3):
            try:
                print("shown", await admin.find_environments.get(asked))
            except GRPCError as error:
                print(error.status.name, "canary" in str(error))
        print("marked", (await reader.find_environments.get(asked)).spec.data["TOKEN"].value)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert await count(plane._store) == before
        found = await admin.find_environments.get(asked)
        print("again", found.spec.data["TOKEN"].value == "canary", await count(plane._store) - before)

asyncio.run(main())
"""


async def test_nothing_is_shown_that_cannot_be_written_down(tmp_path: Path) -> None:
    support = Path(__file__).parents[1] / "support"
    path = os.pathsep.join([str(support), os.environ.get("PYTHONPATH", "")])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(tmp_path / "data")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.decode().splitlines() == ["UNAVAILABLE False"] * 3 + ["marked ***REDACTED***", "again True 1"]
