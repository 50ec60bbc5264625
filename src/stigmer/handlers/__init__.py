"""One kind a file, or one package of services that are about none, and one line here. `app` binds each to a runtime."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stigmer.handlers.base import Handler, Service

FILES = (
    "agent",
    "agent_instance",
    "session",
    "agent_execution",
    "environment",
    "execution_context",
)
WITHOUT_KIND = ("caller", "admin")

HANDLERS: tuple[Handler[Any], ...] = tuple(import_module(f"{__name__}.{file}").HANDLER for file in FILES)
SERVICES: tuple[Service, ...] = tuple(import_module(f"{__name__}.{file}").SERVICE for file in WITHOUT_KIND)
SERVED: tuple[Handler[Any] | Service, ...] = (*HANDLERS, *SERVICES)
