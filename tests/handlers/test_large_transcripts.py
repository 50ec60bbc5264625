"""An execution whose transcript has grown: welcome, and no burden on calls that do not read it (issue 5, part 3)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from conformance_plane import COMPLETED, Plane
from edge_rig import failure_of
from grpclib import Status

from stigmer._gen.ai.stigmer.agentic.agentexecution.v1 import AgentMessage, MessageType, ToolCall
from stigmer.wire.lazy import untouched

if TYPE_CHECKING:
    from stigmer.app.assembly import App

MANY = 10_000
AT_MOST_S = 0.25
"""Each of these calls took 1.2 s; now 1 to 15 ms, on a quiet machine."""


@pytest.fixture
def plane(app: App) -> Plane:
    return Plane(app)


def transcript(number: int = MANY, content: str = "x" * 950) -> list[AgentMessage]:
    return [AgentMessage(type=MessageType.MESSAGE_AI, content=content) for _ in range(number)]


async def took_s(work: Any) -> float:
    """The processor's time: a loaded machine takes no more of it."""
    began = time.process_time()
    await work
    return time.process_time() - began


async def test_ten_thousand_messages_within_ten_mebibytes_are_taken_and_kept(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    sent = transcript()
    after = await plane.report(id_, messages=sent)
    assert after.status.messages == sent
    assert (await plane.executions.get(id_)).status.messages == sent


async def test_a_small_report_does_not_pay_for_what_was_reported_before(plane: Plane) -> None:
    """Attack: 100,000 empty messages once, then each report of 32 bytes takes 1.2 s for ever."""
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, messages=transcript(99_000, ""))
    times = [await took_s(plane.report(id_, error=str(number))) for number in range(5)]
    assert min(times) < AT_MOST_S
    after = await plane.executions.get(id_)
    assert after.status.error == "4"
    assert len(after.status.messages) == 99_000


async def test_nor_do_an_update_a_subscription_and_a_delete(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    grown = await plane.report(id_, messages=transcript(99_000, ""), phase=COMPLETED)
    grown.status, grown.metadata.version = None, None
    grown.spec.message = "And tomorrow?"
    assert await took_s(plane.executions.update(grown)) < AT_MOST_S

    async def follow() -> None:
        (state,) = [state async for state in plane.follow(id_)]
        assert untouched(state) is not None

    assert await took_s(follow()) < AT_MOST_S
    assert await took_s(plane.executions.delete(id_)) < AT_MOST_S


async def test_fields_that_a_newer_caller_reports_inside_a_message_are_kept_and_do_not_pile_up(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    newer = AgentMessage(content="x")
    newer._unknown_fields = b"\xf8\x07\x01"
    sizes = [len(bytes(await plane.report(id_, messages=[newer]))) for _ in range(3)]
    assert (await plane.executions.get(id_)).status.messages[0]._unknown_fields == b"\xf8\x07\x01"
    assert sizes[1] == sizes[2]


@pytest.mark.parametrize(
    "change",
    [
        lambda sent: sent.append(AgentMessage(content="one more")),
        lambda sent: sent.insert(0, AgentMessage(content="before all")),
        lambda sent: setattr(sent[70], "content", "another"),
        lambda sent: sent.pop(),
        lambda sent: sent.pop(3),
        lambda sent: None,
    ],
)
async def test_a_report_that_repeats_most_of_the_transcript_replaces_it(plane: Plane, change: Any) -> None:
    id_ = (await plane.execution()).metadata.id
    sent = transcript(100)
    await plane.report(id_, messages=sent, tool_calls=[ToolCall(id="a"), ToolCall(id="b")])
    change(sent)
    after = await plane.report(id_, messages=sent)
    assert after.status.messages == sent
    assert [call.id for call in after.status.tool_calls] == ["a", "b"]


async def test_what_a_report_adds_to_the_transcript_is_checked_and_named_by_its_place(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    sent = transcript(100)
    await plane.report(id_, messages=sent)
    refused = await failure_of(plane.report(id_, messages=[*sent, AgentMessage(type=MessageType(99))]))
    assert refused.status is Status.INVALID_ARGUMENT
    assert "status.messages[100].type" in str(refused.message)


async def test_a_long_report_on_nothing_is_told_what_is_wrong_with_it_first(plane: Plane) -> None:
    nothing, sent = "aex-01jd0000000000000000000000", [*transcript(100), AgentMessage(type=MessageType(99))]
    assert (await failure_of(plane.report(nothing, messages=sent))).status is Status.INVALID_ARGUMENT
    assert (await failure_of(plane.report(nothing, messages=sent[:100]))).status is Status.NOT_FOUND


async def test_concurrent_reports_on_a_large_row_lose_nothing(plane: Plane) -> None:
    id_ = (await plane.execution()).metadata.id
    await plane.report(id_, messages=transcript(2_000, "x"))
    await asyncio.gather(
        plane.report(id_, error="e"), plane.report(id_, started_at="s"), plane.report(id_, completed_at="c")
    )
    status = (await plane.executions.get(id_)).status
    assert (status.error, status.started_at, status.completed_at, len(status.messages)) == ("e", "s", "c", 2_000)
