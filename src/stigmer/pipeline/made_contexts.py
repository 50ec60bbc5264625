"""Contexts that the server makes for executions: what they are called, whose they are, and what is noted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionContext, ExecutionContextSpec
from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata, ApiResourceOwnerScope

if TYPE_CHECKING:
    from stigmer._gen.ai.stigmer.agentic.executioncontext.v1 import ExecutionValue

MADE_CONTEXTS = "made_contexts"
"""The table of the contexts that the server made: the execution's id by the context's."""
RUNTIME_ENV_KEYS = "runtime_env_keys"
"""The table of the names of what create was sent in `runtime_env`, as a JSON list, by the execution's id."""


def context_of(
    execution_id: str, session: ApiResourceMetadata | None, data: dict[str, ExecutionValue]
) -> ExecutionContext:
    """The context of an execution, to be created; the session's organization is how another server knows whose it is.

    Args:
        execution_id: of the execution.
        session: the metadata of its session, where that is known; a single caller's own one gives no organization.
        data: the values.
    """
    name = f"exec-ctx-{execution_id}"
    is_shared = session is not None and session.owner_scope != ApiResourceOwnerScope.identity_account
    org = session.org if session is not None and is_shared else ""
    return ExecutionContext(
        api_version="agentic.stigmer.ai/v1",
        kind="ExecutionContext",
        metadata=ApiResourceMetadata(name=name, slug=name, org=org),
        spec=ExecutionContextSpec(execution_id=execution_id, data=data),
    )
