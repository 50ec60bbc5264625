"""Environment: named values, secret ones among them, that instances of agents run with."""

from stigmer._gen.ai.stigmer.agentic.environment.v1 import (
    Environment,
    EnvironmentCommandControllerBase,
    EnvironmentQueryControllerBase,
)
from stigmer.handler import Handler
from stigmer.handlers import standard
from stigmer.kinds import Kind

HANDLER = Handler(
    kind=Kind(Environment),
    services=(EnvironmentCommandControllerBase, EnvironmentQueryControllerBase),
    rpcs={
        "create": standard.CREATE,
        "update": standard.UPDATE,
        "apply": standard.APPLY,
        "delete": standard.DELETE,
        "get": standard.GET,
        "getByReference": standard.GET_BY_REFERENCE,
    },
)
