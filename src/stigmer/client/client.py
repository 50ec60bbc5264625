"""`stigmer.Client`: the same in a program that holds a plane and in one that calls a server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from stigmer.client.calls import Calls
from stigmer.client.connection import Connection
from stigmer.client.kinds import Kinds
from stigmer.client.options import Options
from stigmer.client.profiles import profile_of
from stigmer.client.resources import MISSING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from os import PathLike

    from grpclib.client import Channel


class Client(Kinds):
    """A client of a control plane: an async context manager, which connects at its first call, and again if it has to.

    Each kind is a property. Failures are exceptions of `stigmer.errors`, the same over every transport.

    Args:
        server: its address as HOST:PORT, [IPV6]:PORT or unix:PATH; or a channel, such as a plane's in this process.
        token: the bearer token of the caller.
        token_file: a file that holds it; it is read again, at most once a minute, so that it may be renewed.
        tls: True trusts the authorities that this system trusts; `stigmer.rpc.tls_context` makes one of PEM files, and
            where a function is given that makes it, a thread calls it.
        org: the organization of what is made or named without one.
        timeout_s: how long a unary call may take, its repetitions included; None for as long as it takes.
        max_retries: how often a call is repeated where it was UNAVAILABLE and nothing is done twice.

    Raises:
        ValueError: the address is none, TLS is asked for on a Unix socket, or the token would travel in plain text to
            another machine.
    """

    def __init__(  # noqa: PLR0913 - each is named
        self,
        server: str | Channel = "127.0.0.1:7234",
        *,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | bool = False,
        org: str = "",
        timeout_s: float | None = 10.0,
        max_retries: int = 10,
    ) -> None:
        options = Options(timeout_s=timeout_s, max_retries=max_retries, org=org)
        self._calls = Calls(Connection(server, token, token_file, tls), options)

    @classmethod
    def from_env(cls, *, profile: str | None = None) -> Self:
        """A client of the server that the environment names.

        STIGMER_SERVER, STIGMER_TOKEN or STIGMER_TOKEN_FILE, STIGMER_CA (a PEM file, or `system`), STIGMER_CLIENT_CERT,
        STIGMER_CLIENT_KEY and STIGMER_ORG; what they do not say, the profile does: that of the argument, of
        STIGMER_PROFILE, or the one which `stigmer/config.toml` in the user's directory of configurations names.

        Raises:
            ValueError: the profile is not there, a setting is none, or as the class itself.
            OSError: a file cannot be read.
        """
        found = profile_of(profile)
        return cls(found.server, token=found.token, token_file=found.token_file, tls=found.tls, org=found.org)

    def __repr__(self) -> str:
        return f"<Client on {self._calls.connection!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, for those too that `with_options` gave; calls that run end, UNAVAILABLE.

        A channel that was given to it stays open.
        """
        self._calls.connection.close()

    def with_options(  # noqa: PLR0913 - each is named
        self,
        *,
        timeout_s: float | None = MISSING,  # None has a meaning
        max_retries: int | None = None,
        retry_s: float | None = None,
        org: str | None = None,
        dry_run: bool | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Self:
        """A client on the same connection whose calls are made otherwise; what is left out stays.

        Args:
            timeout_s: how long a unary call may take, its repetitions included; None for as long as it takes.
            max_retries: how often a call is repeated where it was UNAVAILABLE and nothing is done twice; 0 for never.
            retry_s: how long it is repeated, counted from the first failure, and a stream opened again (10).
            org: the organization of what is made or named without one.
            dry_run: whether writes are tried and not done; where the server knows no dry runs, they are UNIMPLEMENTED.
            metadata: sent along with each call.
        """
        given: dict[str, Any] = {
            "max_retries": max_retries,
            "retry_s": retry_s,
            "org": org,
            "dry_run": dry_run,
            "metadata": metadata,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        if timeout_s is not MISSING:
            changed["timeout_s"] = timeout_s
        other = object.__new__(type(self))
        other._calls = Calls(self._calls.connection, replace(self._calls.options, **changed))
        return other
