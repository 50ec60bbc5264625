"""What every call passes, from the network or the loopback alike: one interceptor a file, in the order of BUILT_IN.

A host adds its own with `Interceptor`; they run inside the built-in ones, next to the handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.interceptors.api_resource_kind import ApiResourceKind
from stigmer.interceptors.base import Interceptor, StreamNext, UnaryNext
from stigmer.interceptors.deadline import Deadline
from stigmer.interceptors.error_mapping import ErrorMapping
from stigmer.interceptors.logging import Logging
from stigmer.interceptors.request_id import RequestId
from stigmer.interceptors.tracing import Tracing

if TYPE_CHECKING:
    from stigmer.ids import IdSource

__all__ = ["Interceptor", "StreamNext", "UnaryNext", "built_in"]


def built_in(ids: IdSource) -> tuple[Interceptor, ...]:
    """The chain that every call passes, outermost first."""
    return RequestId(ids), Tracing(), Logging(), ErrorMapping(), ApiResourceKind(), Deadline()
