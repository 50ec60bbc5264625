"""A valid request for each method that the descriptors know, with a secret in each place that may hold one."""

from __future__ import annotations

import pytest

from stigmer.pipeline.rules import broken
from stigmer.proof.canaries import Canaries
from stigmer.proof.requests import Known, Requests, holding_secrets, in_order, without_secrets
from stigmer.proof.search import Search
from stigmer.wire.descriptors import methods

KINDS = in_order(method.kind.name for method in methods().values() if method.kind is not None)


def requests(canaries: Canaries) -> Requests:
    made = Requests(canaries)
    made.known.update({kind: Known(f"id-of-{kind}", f"slug-of-{kind.lower()}") for kind in KINDS})
    return made


@pytest.mark.parametrize("method", methods().values(), ids=lambda method: method.path)
def test_a_request_breaks_no_rule(method) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - of a parameter
    assert broken(requests(Canaries()).valid(method)) == []


def test_each_kind_comes_after_those_that_it_refers_to() -> None:
    for earlier, later in (
        ("Agent", "AgentInstance"),
        ("Environment", "AgentInstance"),
        ("AgentInstance", "Session"),
        ("Session", "AgentExecution"),
        ("AgentExecution", "ExecutionContext"),
    ):
        assert KINDS.index(earlier) < KINDS.index(later)


def test_every_place_of_a_secret_has_a_value_of_its_own() -> None:
    canaries = Canaries()
    for method in holding_secrets():
        requests(canaries).valid(method)
    assert {canary.name for canary in canaries} >= {
        "Agent spec.env_spec.data",
        "AgentExecution spec.runtime_env",
        "AgentExecution spec.callback_token",
        "AgentExecutionUpdateStatusInput status.callback_token",
        "Environment spec.data",
        "ExecutionContext spec.data",
        "RotateExecutionValueInput value",
    }
    assert len({canary.value for canary in canaries}) == len(list(canaries))


@pytest.mark.parametrize("method", holding_secrets(), ids=lambda method: method.path)
def test_without_its_secrets_a_request_holds_none(method) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as above
    canaries = Canaries()
    request = requests(canaries).valid(method).SerializeToString()
    search = Search(canaries)
    search.look("request", request)
    assert search.findings
    rest = Search(canaries)
    rest.look("the rest", without_secrets(method, request) or b"")
    assert not rest.findings
    assert without_secrets(method, b"\xff") is None
