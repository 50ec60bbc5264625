"""Administration of a running server, for admins of all organizations. About no kind."""

from stigmer._gen.ai.stigmer.admin.v1 import (
    AddKeyRequest,
    ExportAuditRequest,
    ListKeysRequest,
    RewrapKeysRequest,
    SealingKeyId,
    TailAuditRequest,
)
from stigmer.handlers.base import Service
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.audit_entries import ExportAudit, TailAudit
from stigmer.steps.keys import ActivateKey, AddKey, ListKeys, RetireKey, RewrapKeys
from stigmer.steps.validate_proto import ValidateProto

SERVICE = Service(
    package="ai.stigmer.admin.v1",
    rpcs={
        "listKeys": Steps(ListKeysRequest, ValidateProto(), ListKeys()),
        "addKey": Steps(AddKeyRequest, ValidateProto(), AddKey()),
        "activateKey": Steps(SealingKeyId, ValidateProto(), ActivateKey()),
        "rewrapKeys": Steps(RewrapKeysRequest, ValidateProto(), last=RewrapKeys()),
        "retireKey": Steps(SealingKeyId, ValidateProto(), RetireKey()),
        "tailAudit": Steps(TailAuditRequest, ValidateProto(), last=TailAudit()),
        "exportAudit": Steps(ExportAuditRequest, ValidateProto(), last=ExportAudit()),
    },
)
