"""The kind that a service is about, from its `api_resource_kind` option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.edge.interceptors.base import Interceptor, StreamNext, UnaryNext

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from stigmer.pipeline.call import Call
    from stigmer.pipeline.context import Reply


class ApiResourceKind(Interceptor):
    """Put the kind into the call, where handlers and the host's interceptors find it."""

    async def unary(self, call: Call, request: Any, proceed: UnaryNext) -> Reply:  # noqa: ANN401 - any RPC's request
        """Set `call.kind`."""
        call.kind = call.method.kind
        return await proceed(call, request)

    def stream(self, call: Call, request: Any, proceed: StreamNext) -> AsyncGenerator[Reply, None]:  # noqa: ANN401 - as above
        """Set `call.kind`."""
        call.kind = call.method.kind
        return proceed(call, request)
