"""Request ids: one name for a call, and for the calls that it makes downstream."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from stigmer.edge.interceptors.base import NOTHING, BuiltIn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.ids import IdSource

KEY = "x-request-id"
_WELL_FORMED = re.compile(r"[!-~]{1,128}")


class RequestId(BuiltIn):
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
