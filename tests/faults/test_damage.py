"""Bits that flip in the database file: what is served is what was written, or DATA_LOSS, or the start is refused.

Of 250 flips 58 made the server answer with other content, whole lists failed at the client, and health said SERVING.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import samples
from damaged import Reader, Resources, flipped, make
from edge_rig import Stubs, agents
from edge_sockets import dial
from google.rpc.error_details_pb2 import ResourceInfo
from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from served_process import served

from stigmer.app import embedded
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

LONG = (pytest.mark.long, pytest.mark.timeout(3600))
SEED = os.environ.get("STIGMER_DAMAGE_SEED", "stigmer")


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Resources]:
    """A directory with a closed database of 300 resources, and these."""
    directory = tmp_path_factory.mktemp("damage") / "whole"
    return directory, asyncio.run(make(directory, 60))


def where(directory: Path, text: str, after: int = 0) -> int:
    """The offset of a text in the database file."""
    return (directory / "stigmer.db").read_bytes().index(text.encode(), after)


async def test_a_damaged_row_is_data_loss_by_its_name_and_all_others_are_served(
    resources: tuple[Path, Resources], tmp_path: Path
) -> None:
    whole, made = resources
    victim = next(iter(made.made["agents"]))
    content = where(whole, "x" * 1500, where(whole, f"Agent{victim}"))
    flipped(whole, tmp_path / "data", content + 700, 3)
    async with served(tmp_path / "data") as server:
        told = [line for line in server.lines if line["event"] == "Stored data is damaged"]
        assert [(line["kind"], line["id"]) for line in told] == [("Agent", victim)]
        channel = dial(server)
        with pytest.raises(GRPCError) as caught:
            await Stubs(channel).find_agents.get(agents.AgentId(value=victim))
        assert caught.value.status.name == "DATA_LOSS"
        (info,) = caught.value.details
        assert isinstance(info, ResourceInfo)
        assert (info.resource_type, info.resource_name) == ("Agent", victim)
        reader = Reader(channel, made)
        await reader.everything()
        assert reader.wrong == []
        assert reader.codes["DATA_LOSS"] == 2  # get and getByReference
        with pytest.raises(GRPCError) as taken:
            await Stubs(channel).agents.create(samples.agent(id=victim))
        assert taken.value.status.name == "ALREADY_EXISTS", "whoever brings the id learns nothing of the row"
        channel.close()
        plain = Channel(*server.address)
        health: Any = await HealthStub(plain).Check(HealthCheckRequest())
        assert health.status == HealthCheckResponse.SERVING
        plain.close()


async def test_a_page_that_meets_a_damaged_row_is_data_loss_and_the_pages_before_it_are_served(
    resources: tuple[Path, Resources], tmp_path: Path
) -> None:
    whole, made = resources
    victim = list(made.made["sessions"])[30]
    flipped(whole, tmp_path / "data", where(whole, "The weather", where(whole, f"Session{victim}")), 0)
    async with served(tmp_path / "data") as server:
        channel = dial(server)
        reader = Reader(channel, made)
        await reader._walk("sessions")
        channel.close()
    assert (reader.wrong, reader.codes) == ([], {"OK": 1, "DATA_LOSS": 1})


async def test_an_index_of_rows_that_is_damaged_is_made_anew(resources: tuple[Path, Resources], tmp_path: Path) -> None:
    whole, made = resources
    victim = list(made.made["environments"])[10]
    in_row = where(whole, f"Environment{victim}")
    data = (whole / "stigmer.db").read_bytes()
    offsets = [at for at in range(len(data)) if data.startswith(f"Environment{victim}".encode(), at)]
    (in_index,) = [at for at in offsets if at != in_row and data[at + 11 + len(victim)] < 0x20] or offsets[1:2]
    flipped(whole, tmp_path / "data", in_index + 15, 0)
    async with served(tmp_path / "data") as server:
        assert "An index was damaged: made anew from the rows" in {line["event"] for line in server.lines}
        channel = dial(server)
        reader = Reader(channel, made)
        await reader.everything()
        channel.close()
    assert (reader.wrong, set(reader.codes)) == ([], {"OK"})


def names_damage(refusal: str) -> bool:
    """Whether a refusal to start says what is wrong; a header with a flipped bit is that of another program."""
    return any(words in refusal for words in ("is damaged", "another program's", "has schema version"))


async def read_in_process(directory: Path, made: Resources) -> tuple[list[str], str]:
    try:
        async with embedded(directory) as plane:
            reader = Reader(plane.channel, made)
            await reader.everything()
    except StartupError as error:
        return [] if names_damage(str(error)) else [str(error)], "refused"
    return reader.wrong, "served" if set(reader.codes) == {"OK"} else "in part"


@pytest.mark.parametrize("flips", [8, pytest.param(500, marks=LONG)])
async def test_whatever_bit_flips_nothing_else_is_ever_answered(
    resources: tuple[Path, Resources], tmp_path: Path, flips: int
) -> None:
    whole, made = resources
    chance, size = random.Random(SEED), (whole / "stigmer.db").stat().st_size
    outcomes: dict[str, int] = {}
    for number in range(flips):
        copy, offset, bit = tmp_path / str(number), chance.randrange(size), chance.randrange(8)
        flipped(whole, copy, offset, bit)
        wrong, outcome = await read_in_process(copy, made)
        assert wrong == [], f"bit {bit} at {offset}"
        shutil.rmtree(copy)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes.get("refused", 0) < flips / 2, "most damage is of single rows"


@pytest.mark.parametrize("flips", [2, pytest.param(60, marks=LONG)])
async def test_whatever_bit_flips_a_process_answers_nothing_else(
    resources: tuple[Path, Resources], tmp_path: Path, flips: int
) -> None:
    whole, made = resources
    chance, size = random.Random(SEED), (whole / "stigmer.db").stat().st_size
    for number in range(flips):
        copy, offset, bit = tmp_path / str(number), chance.randrange(size), chance.randrange(8)
        flipped(whole, copy, offset, bit)
        try:
            async with served(copy) as server:
                channel = dial(server)
                reader = Reader(channel, made)
                await reader.everything()
                channel.close()
                wrong = reader.wrong
        except AssertionError as error:  # it did not come so far as to serve
            wrong = [] if names_damage(str(error)) else [str(error)]
        assert wrong == [], f"bit {bit} at {offset}"
        shutil.rmtree(copy)
