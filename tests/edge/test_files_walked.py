"""How many of our files a call walks through, as docs/architecture.md says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import samples
from edge_rig import Rig, agents, id_of
from markdown_text import document

import stigmer

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import FrameType

PACKAGE = Path(stigmer.__file__).parent
PAGE = " ".join(document("docs/architecture.md").split())


async def files_of(call: Awaitable[object]) -> set[str]:
    """The files of ours in which the call runs anything on the event loop, generated ones left out."""
    walked: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            walked.add(frame.f_code.co_filename)

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        await call
    finally:
        sys.setprofile(former)
    ours = [Path(name).relative_to(PACKAGE) for name in walked if name.startswith(f"{PACKAGE}/")]
    return {str(path) for path in ours if path.parts[0] != "_gen"}


async def test_a_call_walks_no_more_files_than_the_page_says(rig: Rig) -> None:
    said = re.search(r"walks at most (\d+) of our files, an execution's create with its session (\d+)", PAGE)
    assert said is not None
    agent = await rig.agent()

    def get() -> Any:
        return rig.find_agents.get(agents.AgentId(value=id_of(agent)))

    def create() -> Any:
        return rig.executions.create(samples.agent_execution(agent_id=id_of(agent)))

    for call, most in zip((get, create), said.groups(), strict=True):
        await call()  # what is made once
        walked = await files_of(call())
        assert "edge/door.py" in walked
        assert len(walked) <= int(most), sorted(walked)
