"""Callers: who calls, and what that one may do. About no kind."""

from stigmer._gen.ai.stigmer.iam.caller.v1 import CanIRequest, WhoamiRequest
from stigmer.handlers.base import Service
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.caller import CanI, WhoAmI
from stigmer.steps.validate_proto import ValidateProto

SERVICE = Service(
    package="ai.stigmer.iam.caller.v1",
    rpcs={
        "whoami": Steps(WhoamiRequest, ValidateProto(), WhoAmI()),
        "canI": Steps(CanIRequest, ValidateProto(), CanI()),
    },
)
