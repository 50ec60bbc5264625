"""What a call is called by: its request id, and the kind that it is about."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from stigmer.edge.interceptors.base import NOTHING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.ids import IdSource

KEY = "x-request-id"
_WELL_FORMED = re.compile(r"[!-~]{1,128}")


class RequestId:
    """Take the caller's `x-request-id` where it is printable and short, else make one; calls made inside inherit it."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Name the call."""
        self._name(call)
        return NOTHING

    def _name(self, call: Call) -> None:
        if call.request_id:  # inherited
            return
        sent = call.metadata.get(KEY)
        usable = isinstance(sent, str) and _WELL_FORMED.fullmatch(sent)
        call.request_id = str(sent) if usable else self._made()

    def _made(self) -> str:
        try:
            return self._ids.new("req")
        except Exception:  # noqa: BLE001  # a host's source of ids: a call must not fail for want of a name
            return f"req-{uuid.uuid4().hex}"


class ApiResourceKind:
    """Put the kind that the service is about into the call, where handlers and the host's interceptors find it."""

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Set `call.kind`, from the service's option `api_resource_kind`."""
        call.kind = call.method.kind
        return NOTHING
