"""The kind that a service is about, from its `api_resource_kind` option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.edge.interceptors.base import NOTHING, BuiltIn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from stigmer.pipeline.call import Call


class ApiResourceKind(BuiltIn):
    """Put the kind into the call, where handlers and the host's interceptors find it."""

    def watch(self, call: Call) -> AbstractContextManager[object]:
        """Set `call.kind`."""
        call.kind = call.method.kind
        return NOTHING
