"""What every call passes, from the network or the loopback alike: in the order of `built_in`.

The deadline counts within them. A host adds its own with `Interceptor`; they run within all of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.edge.interceptors.base import BuiltIn, Interceptor, StreamNext, UnaryNext
from stigmer.edge.interceptors.call_log import Logging
from stigmer.edge.interceptors.error_mapping import ErrorMapping
from stigmer.edge.interceptors.naming import ApiResourceKind, RequestId
from stigmer.edge.interceptors.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from stigmer.pipeline.ids import IdSource

__all__ = ["BuiltIn", "Interceptor", "StreamNext", "UnaryNext", "built_in"]


def built_in(ids: IdSource, observe: Callable[[str, str, float], None]) -> tuple[BuiltIn, ...]:
    """What is around every call, the outermost first; `observe` as `Logging` has it."""
    return RequestId(ids), Tracing(), Logging(observe), ErrorMapping(), ApiResourceKind()
