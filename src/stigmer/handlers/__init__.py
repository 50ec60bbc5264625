"""One kind a file, and one line here. `app` binds each to a runtime."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stigmer.handlers.base import Handler

FILES = (
    "agent",
    "agent_instance",
    "session",
    "agent_execution",
    "environment",
    "execution_context",
)

HANDLERS: tuple[Handler[Any], ...] = tuple(import_module(f"{__name__}.{file}").HANDLER for file in FILES)
