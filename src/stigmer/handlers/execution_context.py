"""ExecutionContext: what one execution runs with; never changed, gone with its execution."""

from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContext, ExecutionContextExecutionIdInput
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind, Reference
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.load_by_execution_id import LoadByExecutionId
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto

HANDLER = Handler(
    kind=Kind(
        ExecutionContext,
        reached_by=("spec.execution_id",),
        belongs_to=Reference("AgentExecution", "spec.execution_id"),
    ),
    rpcs={
        "create": standard.CREATE,
        "apply": Steps(ExecutionContext, ValidateProto(), ResolveSlug(), LoadForApply(), ThenCreate()),
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "getByExecutionId": Steps(ExecutionContextExecutionIdInput, ValidateProto(), LoadByExecutionId()),
    },
)
