"""The step lists in code are those of the docs' table."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import stigmer.steps
from stigmer.handlers import HANDLERS, SERVICES, standard

PLAIN_CREATE = "ValidateProto ResolveSlug CheckDuplicate BuildNewState Persist"
UPDATE = "ValidateProto ResolveSlug LoadExisting BuildUpdateState Persist"
APPLY = "ValidateProto ResolveSlug LoadForApply ThenCreate"
"""ThenCreate runs create where the slug is free; else update, or for a kind without update it refuses."""
DELETE = "ValidateProto ExtractResourceId LoadExistingForDelete DeleteResource"
GET = "ValidateProto LoadTarget"
BY_REFERENCE = "ValidateProto LoadByReference"
LIST = "ValidateProto List"

TABLE = {
    "Agent": {
        "create": "ValidateProto ResolveSlug CheckDuplicate BuildNewState CreateDefaultInstance Persist",
        "update": UPDATE,
        "apply": APPLY,
        "delete": DELETE,
        "get": GET,
        "getByReference": BY_REFERENCE,
        "list": LIST,
    },
    "AgentInstance": {
        "create": PLAIN_CREATE,
        "update": UPDATE,
        "apply": APPLY,
        "delete": DELETE,
        "get": GET,
        "getByReference": BY_REFERENCE,
        "list": LIST,
        "getByAgent": LIST,
    },
    "Session": {
        "create": PLAIN_CREATE,
        "update": UPDATE,
        "apply": APPLY,
        "delete": DELETE,
        "get": GET,
        "getByReference": BY_REFERENCE,
        "list": LIST,
        "listByAgent": LIST,
    },
    "AgentExecution": {
        "create": "ValidateProto ResolveSlug ValidateSessionOrAgent BuildNewState CreateDefaultInstanceIfNeeded "
        "CreateSessionIfNeeded CreateExecutionContext SetInitialPhase Persist",
        "update": UPDATE,
        "updateStatus": "ValidateProto LoadExisting BuildNewStateWithStatus Persist DeleteExecutionContexts",
        "delete": DELETE,
        "get": GET,
        "list": LIST,
        "listBySession": LIST,
        "subscribe": "ValidateProto LoadTarget StreamUpdates",
    },
    "Environment": {
        "create": PLAIN_CREATE,
        "update": UPDATE,
        "apply": APPLY,
        "delete": DELETE,
        "get": GET,
        "getByReference": BY_REFERENCE,
        "list": LIST,
    },
    "ExecutionContext": {
        "create": PLAIN_CREATE,
        "apply": APPLY,
        "rotate": "ValidateProto LoadExisting RotateValue Persist",
        "delete": DELETE,
        "get": GET,
        "getByReference": BY_REFERENCE,
        "list": LIST,
        "getByExecutionId": "ValidateProto LoadByExecutionId",
    },
}


def test_the_table_has_every_kind() -> None:
    assert [handler.kind.name for handler in HANDLERS] == [
        "Agent",
        "AgentInstance",
        "Session",
        "AgentExecution",
        "Environment",
        "ExecutionContext",
    ]


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.kind.name)
def test_the_step_lists_are_the_tables(handler: object) -> None:
    pipelines = handler.pipelines  # type: ignore[attr-defined]  # a Handler
    kind = handler.kind  # type: ignore[attr-defined]  # as above
    assert {rpc: pipeline.names() for rpc, pipeline in pipelines.items()} == {
        rpc: steps.split() for rpc, steps in TABLE[kind.name].items()
    }
    assert {pipeline.name for pipeline in pipelines.values()} == {
        f"{kind.meta.enum_name}.{rpc}" for rpc in TABLE[kind.name]
    }


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.kind.name)
def test_each_rpc_of_the_proto_has_a_pipeline_and_streams_where_the_proto_does(handler: object) -> None:
    from stigmer.wire import descriptors

    kind = handler.kind  # type: ignore[attr-defined]  # a Handler
    of_the_proto = {
        method.name: method.server_streaming
        for method in descriptors.methods().values()
        if method.kind is not None and method.kind.name == kind.name
    }
    pipelines = handler.pipelines  # type: ignore[attr-defined]  # as above
    assert of_the_proto == {rpc: pipeline.last is not None for rpc, pipeline in pipelines.items()}


def test_the_step_lists_of_services_about_no_kind_are_these() -> None:
    assert {
        pipeline.name: " ".join(pipeline.names()) for service in SERVICES for pipeline in service.pipelines.values()
    } == {
        "caller.whoami": "ValidateProto WhoAmI",
        "caller.canI": "ValidateProto CanI",
        "admin.listKeys": "ValidateProto ListKeys",
        "admin.addKey": "ValidateProto AddKey",
        "admin.activateKey": "ValidateProto ActivateKey",
        "admin.rewrapKeys": "ValidateProto RewrapKeys",
        "admin.retireKey": "ValidateProto RetireKey",
        "admin.tailAudit": "ValidateProto TailAudit",
        "admin.exportAudit": "ValidateProto ExportAudit",
    }


def without(one: Any, rpc: str) -> Any:
    return replace(one, rpcs={name: steps for name, steps in one.rpcs.items() if name != rpc})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (without(SERVICES[0], "whoami"), "ai.stigmer.iam.caller.v1: the proto has the RPCs"),
        (without(HANDLERS[0], "apply"), "Agent: the proto has the RPCs"),
        (replace(SERVICES[0], rpcs={**SERVICES[0].rpcs, "more": standard.GET}), "the handler .*more"),
        (replace(SERVICES[0], rpcs={**SERVICES[0].rpcs, "whoami": standard.GET_BY_REFERENCE}), "whoami takes .*Whoami"),
    ],
    ids=["a service's RPC without steps", "a kind's", "steps without an RPC", "steps for another request"],
)
def test_rpcs_and_steps_that_do_not_fit_end_the_start(wrong: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        wrong.bind(cast("Any", None))


def test_rows_are_read_and_written_through_the_context_alone() -> None:
    steps = Path(stigmer.steps.__file__).parent
    own_way = re.compile(r"\.(row_of|resource_of|create|update)\((?!ctx, )|Encoded\(.*row")
    found = [
        f"{file.name}: {line.strip()}"
        for file in sorted(steps.glob("*.py"))
        for line in file.read_text().splitlines()
        if own_way.search(line) and "client.create" not in line
    ]
    assert found == []
