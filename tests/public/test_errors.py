"""A failure can be told again from its status: each class of `stigmer.errors` comes back as it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure
from grpclib.const import Status
from grpclib.exceptions import GRPCError

import stigmer
import stigmer.app
from stigmer import errors, rpc
from stigmer.errors import Code, Violation
from stigmer.types import Agent, AgentId
from stigmer.wire.status_details import details_of

if TYPE_CHECKING:
    from pathlib import Path

EVERY: list[errors.StigmerError] = [
    errors.InvalidArgument(Violation("metadata.name", "is missing"), Violation("", "is no Agent")),
    errors.NotFound("Agent", "agt-1"),
    errors.NotFound("Agent", "agt-1", message="no agent in the org acme"),
    errors.AlreadyExists("Agent", "agt-1", slug="writer"),
    errors.Aborted("somebody else was faster", "CONTENTION"),
    errors.FailedPrecondition("it has ended", type_="PHASE", subject="aex-1"),
    errors.FailedPrecondition("it is missing", reason="ENVIRONMENT_MISSING", subject="acme/prod"),
    errors.Unauthenticated("send a bearer token", takes=["bearer token", "client certificate"]),
    errors.PermissionDenied("not with the role reader", permission="can_edit", kind="agent"),
    errors.ResourceExhausted("too many subscriptions"),
    errors.ResourceExhausted("too much is held", retry_after_s=2.5),
    errors.Unimplemented("unknown method /a/b"),
    errors.DeadlineExceeded("too late"),
    errors.Cancelled("the caller went away"),
    errors.Unavailable("it stops", retry_after_s=0.25),
    errors.DataLoss("Agent", "agt-1"),
    errors.Internal("0123abcd"),
    errors.Relayed(Code.UNKNOWN, "somebody else's", [ErrorInfo(reason="X")]),
]


def received(error: errors.StigmerError) -> GRPCError:
    return GRPCError(Status(error.code.value), error.message, list(details_of(error)))


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_it_went(error: errors.StigmerError) -> None:
    told = rpc.error_of(received(error))
    assert type(told) is type(error)
    assert vars(told) == vars(error)
    assert (str(told), told.code) == (str(error), error.code)
    assert details_of(told) == details_of(error)


def test_every_class_is_tried() -> None:
    assert {type(error) for error in EVERY} == set(errors.StigmerError.__subclasses__())


@pytest.mark.parametrize("kind", [kind for kind in errors.StigmerError.__subclasses__() if kind is not errors.Relayed])
@pytest.mark.parametrize("details", [None, [], ["nothing known"], [QuotaFailure()]], ids=str)
def test_a_status_without_its_details_is_of_the_same_class(kind: type[errors.StigmerError], details: Any) -> None:
    told = rpc.error_of(GRPCError(Status(kind.code.value), None, details))
    assert type(told) is kind
    assert told.message == ""
    assert isinstance(details_of(told), tuple)


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.OUT_OF_RANGE, Status.OK])
def test_a_code_of_no_class_is_relayed(status: Status) -> None:
    told = rpc.error_of(GRPCError(status, "as it was"))
    assert type(told) is errors.Relayed
    assert (told.code, told.message) == (Code(status.value) or Code.UNKNOWN, "as it was")


async def test_the_errors_of_a_plane_can_be_caught_by_their_classes(tmp_path: Path) -> None:
    async with (
        stigmer.embedded(tmp_path) as plane,
        plane.listen("127.0.0.1:0") as server,
        rpc.channel(server.listens_on) as far,
    ):
        for channel in (plane.channel, far):
            with pytest.raises(GRPCError) as caught:
                await rpc.AgentQueryControllerStub(channel).get(AgentId("agt-1"))
            told = rpc.error_of(caught.value)
            assert isinstance(told, stigmer.NotFound)
            assert (told.kind, told.name) == ("Agent", "agt-1")
            with pytest.raises(GRPCError) as caught:
                await rpc.AgentCommandControllerStub(channel).create(Agent())
            told = rpc.error_of(caught.value)
            assert isinstance(told, stigmer.InvalidArgument)
            assert [one.field for one in told.violations] == ["api_version", "kind", "metadata", "spec"]
