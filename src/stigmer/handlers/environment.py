"""Environment: named values, secret ones among them, that instances of agents run with."""

from stigmer._gen.ai.stigmer.agentic.environment.v1 import Environment, EnvironmentList, ListEnvironmentsRequest
from stigmer.handlers import standard
from stigmer.handlers.base import Handler
from stigmer.pipeline.kind import Kind

HANDLER = Handler(
    kind=Kind(Environment),
    rpcs={
        "create": standard.CREATE,
        "update": standard.UPDATE,
        "apply": standard.APPLY,
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
        "list": standard.lists(ListEnvironmentsRequest, EnvironmentList),
    },
)
