"""Stigmer: a control plane for AI agents, served over gRPC and in process.

All that a program needs is here, in `stigmer.sync` (the client without an event loop), in `stigmer.types` (messages)
and in `stigmer.rpc` (channels and stubs). Each name is imported when it is first used: `import stigmer` by itself
brings nothing else along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stigmer import errors, rpc, sync, types
    from stigmer.access.authorizer import Authorizer
    from stigmer.access.credentials import Authenticator, Credentials, Identity, Peer
    from stigmer.access.principal import Principal
    from stigmer.app import Plane, embedded, serve
    from stigmer.client import Client
    from stigmer.edge.interceptors import Interceptor, StreamNext, UnaryNext
    from stigmer.errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        Internal,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        Relayed,
        ResourceExhausted,
        StartupError,
        StigmerError,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        VersionMismatch,
    )
    from stigmer.pipeline.call import Call
    from stigmer.secrets.key_service import KeyService
    from stigmer.settings import Settings

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """Import the module that a public name comes from, and keep what was found."""
        from importlib import import_module  # noqa: PLC0415 - as little as can be for `import stigmer`

        if name == "__version__":
            found = _version()
        elif name in _MODULES:
            found = import_module(f"{__name__}.{name}")
        elif name in __all__:
            home = next((home for home, names in _HOMES.items() if name in names), "errors")
            found = getattr(import_module(f"{__name__}.{home}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, found)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Aborted",
    "AlreadyExists",
    "Authenticator",
    "Authorizer",
    "Call",
    "Cancelled",
    "Client",
    "Credentials",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Identity",
    "Interceptor",
    "Internal",
    "InvalidArgument",
    "KeyService",
    "NotFound",
    "Peer",
    "PermissionDenied",
    "Plane",
    "Principal",
    "Relayed",
    "ResourceExhausted",
    "Settings",
    "StartupError",
    "StigmerError",
    "StreamNext",
    "UnaryNext",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionMismatch",
    "__version__",
    "embedded",
    "errors",
    "rpc",
    "serve",
    "sync",
    "types",
]

_MODULES = ("errors", "rpc", "sync", "types")
_HOMES = {
    "app": ("Plane", "embedded", "serve"),
    "client": ("Client",),
    "edge.interceptors": ("Interceptor", "StreamNext", "UnaryNext"),
    "access.authorizer": ("Authorizer",),
    "access.credentials": ("Authenticator", "Credentials", "Identity", "Peer"),
    "access.principal": ("Principal",),
    "pipeline.call": ("Call",),
    "secrets.key_service": ("KeyService",),
    "settings": ("Settings",),
}
"""Where the names come from that are no errors."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - it costs 20 ms

    try:
        return version("stigmer-server")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
