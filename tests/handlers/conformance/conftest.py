"""Each kind in turn, over the loopback and over a socket."""

from __future__ import annotations

from typing import Any

import pytest
from conformance import Resources
from conformance_facts import AGENT_EXECUTION, KINDS


def _serving(rpc: str) -> list[Any]:
    return [facts for facts in KINDS if rpc in facts.rpcs]


@pytest.fixture(params=KINDS, ids=repr)
def kind(request: pytest.FixtureRequest, channel: Any) -> Resources:
    return Resources(request.param, channel)


@pytest.fixture(params=[facts for facts in KINDS if facts.slug_unique], ids=repr)
def slugged(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind whose slugs are unique."""
    return Resources(request.param, channel)


@pytest.fixture(params=_serving("update"), ids=repr)
def updated(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind that has update."""
    return Resources(request.param, channel)


@pytest.fixture(params=_serving("apply"), ids=repr)
def applied(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind that has apply."""
    return Resources(request.param, channel)


@pytest.fixture(params=[facts for facts in _serving("apply") if "update" in facts.rpcs], ids=repr)
def reapplied(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind whose second apply is an update."""
    return Resources(request.param, channel)


@pytest.fixture(params=_serving("get_by_reference"), ids=repr)
def referred(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind that has getByReference."""
    return Resources(request.param, channel)


@pytest.fixture(params=[f for f in _serving("get_by_reference") if f.namespaced], ids=repr)
def spaced(request: pytest.FixtureRequest, channel: Any) -> Resources:
    """A kind that has getByReference and a namespace for each org."""
    return Resources(request.param, channel)


@pytest.fixture
def executions(channel: Any) -> Resources:
    return Resources(AGENT_EXECUTION, channel)
