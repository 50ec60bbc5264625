"""Who did what when: the audit fields that the steps stamp."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from stigmer._gen.ai.stigmer.commons.apiresource import (
    ApiResourceAudit,
    ApiResourceAuditActor,
    ApiResourceAuditInfo,
    ApiResourceMetadataVersion,
)
from stigmer.wire import codec
from stigmer.wire.descriptors import kind_by_name
from stigmer.wire.lazy import shallow_copy

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceMetadata
    from stigmer.pipeline.ids import IdSource

CREATED = "created"
UPDATED = "updated"


def created(actor: str) -> ApiResourceAudit:
    """The audit of a new resource: spec and status alike, updated as created."""
    at = dt.datetime.now(dt.UTC)
    return ApiResourceAudit(spec_audit=_created(actor, at), status_audit=_created(actor, at))


def stamp_update(info: Message, actor: str) -> None:
    """Note a change in a wire ApiResourceAuditInfo: who created it, and when, stays."""
    now = ApiResourceAuditInfo(
        updated_by=ApiResourceAuditActor(id=actor), updated_at=dt.datetime.now(dt.UTC), event=UPDATED
    )
    for name in ("updated_by", "updated_at"):
        info.ClearField(name)
    info.MergeFrom(codec.to_wire(now))


def updated(status: Any, actor: str) -> Any:  # noqa: ANN401 - each kind has a status of its own
    """A stored status, its spec's audit stamped; copied by the C runtime, for a transcript may be large."""
    wire: Any = codec.to_wire(status)
    stamp_update(wire.audit.spec_audit, actor)
    return codec.lazily(status.__class__, wire)


def next_version(
    ids: IdSource, sent: ApiResourceMetadata, before: ApiResourceMetadata | None
) -> ApiResourceMetadataVersion:
    """The version of metadata and spec that a write makes; the caller's message is kept."""
    version = shallow_copy(sent.version) if sent.version is not None else ApiResourceMetadataVersion()
    version.id = ids.new(kind_by_name("ApiResourceVersion").id_prefix)
    version.previous_version_id = before.version.id if before is not None and before.version is not None else ""
    return version


def _created(actor: str, at: dt.datetime) -> ApiResourceAuditInfo:
    return ApiResourceAuditInfo(
        created_by=ApiResourceAuditActor(id=actor),
        created_at=at,
        updated_by=ApiResourceAuditActor(id=actor),
        updated_at=at,
        event=CREATED,
    )
