"""ExecutionContext: what one execution runs with; gone when that has ended."""

from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import (
    ExecutionContext,
    ExecutionContextExecutionIdInput,
    ExecutionContextList,
    ListExecutionContextsRequest,
    RotateExecutionValueInput,
)
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind, Reference
from stigmer.pipeline.made_contexts import MADE_CONTEXTS
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.load_by_execution_id import LoadByExecutionId
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.rotate_value import RotateValue
from stigmer.steps.validate_proto import ValidateProto

HANDLER = Handler(
    kind=Kind(
        ExecutionContext,
        reached_by=("spec.execution_id",),
        belongs_to=Reference("AgentExecution", "spec.execution_id"),
        records=(MADE_CONTEXTS,),
        expires=True,
    ),
    rpcs={
        "create": standard.CREATE,
        "apply": Steps(ExecutionContext, ValidateProto(), ResolveSlug(), LoadForApply(), ThenCreate()),
        "rotate": Steps(
            RotateExecutionValueInput,
            ValidateProto(),
            LoadExisting(id_field="resource_id"),
            RotateValue(),
            Persist(),
        ),
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "list": standard.lists(ListExecutionContextsRequest, ExecutionContextList),
        "getByExecutionId": Steps(ExecutionContextExecutionIdInput, ValidateProto(), LoadByExecutionId()),
    },
)
