"""Whom a command calls: a running server, by flags, variables or the settings; or a database that no server has open.

`on_server` and `on_server_or_database` give a command the flags; `Callee.call` does the rest.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stigmer.address import UnixAddress, address_of, is_loopback
from stigmer.cli import INTERRUPTED, interrupts_raise
from stigmer.cli.flags import loaded
from stigmer.cli.target import Target
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from grpclib.client import Channel

    from stigmer.address import Address
    from stigmer.client import Client
    from stigmer.settings import Settings

T = TypeVar("T")

_SYSTEM = Path("system")  # in place of a file: the authorities that this system trusts

ANSWER_S = 60.0
"""How long a server may take to answer a call that is no stream."""

_OF_SERVER: dict[str, Any] = {
    "server": Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            envvar="STIGMER_SERVER",
            help="Server to call. [that of the profile, else of the settings]",
        ),
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="STIGMER_TOKEN_FILE", help="File with the token to call with."),
    ],
    "ca": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="STIGMER_CA", help="PEM file of the authorities to trust, or `system`; turns TLS on."
        ),
    ],
    "client_cert": Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="STIGMER_CLIENT_CERT", help="PEM file of the client's certificate."),
    ],
    "client_key": Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="STIGMER_CLIENT_KEY", help="PEM file of its private key.")
    ],
    "profile": Annotated[
        str | None,
        typer.Option(metavar="NAME", envvar="STIGMER_PROFILE", help="Profile of `stigmer config` to call by."),
    ],
    "config": Annotated[str | None, typer.Option(metavar="FILE", help="TOML file with the server's settings.")],
}
_OF_DATABASE: dict[str, Any] = {
    "data_dir": Annotated[str | None, typer.Option(metavar="DIR", help="In place of a server: its data directory.")],
    "keyring_file": Annotated[
        str | None, typer.Option(metavar="FILE", help="With --data-dir: the keyring. [the one of the settings]")
    ],
}


@dataclass(frozen=True)
class Callee:
    """What the flags say of whom to call."""

    server: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    profile: str | None = None
    config: str | None = None
    data_dir: str | None = None
    keyring_file: str | None = None
    token: str = field(default="", repr=False)
    org: str = ""

    def with_profile(self) -> Callee:
        """What a profile says beside the flags: the one named, else the one in use where no flag names whom to call.

        So that a token goes to no other server than its own. Raises StartupError.
        """
        is_named = self.server is not None or self.config is not None
        if self.data_dir is not None or (self.profile is None and is_named):
            return self
        from stigmer.client.profiles import kept_profile  # noqa: PLC0415  # not for help

        try:
            kept: dict[str, Any] = kept_profile(self.profile or "")
        except (ValueError, OSError) as error:
            raise StartupError(f"--profile: {error}") from None
        if self.token_file is not None or "STIGMER_TOKEN" in os.environ:
            kept = {name: value for name, value in kept.items() if not name.startswith("token")}
        for name in kept.keys() & {"token_file", "ca", "client_cert", "client_key"}:
            kept[name] = Path(kept[name])
        return replace(self, **{name: value for name, value in kept.items() if not getattr(self, name)})

    @property
    def names_server(self) -> bool:
        """Whether a server is named, and no database."""
        return self.server is not None and self.data_dir is None

    def target(self) -> Target:
        """The server. Raises StartupError."""
        import_module("stigmer.rpc")  # here, because imports read files, which an event loop is not to wait for
        settings = loaded(config=self.config) if self.server is None else None
        address = settings.addresses[0].dialled if settings else _address(str(self.server))
        token = _token(self.token_file) or self.token
        security = None if isinstance(address, UnixAddress) else self._security(settings)
        if token and security is None and not isinstance(address, UnixAddress) and not is_loopback(address.host):
            raise StartupError(f"{address}: the token would travel in clear text; give --ca FILE, or --ca system")
        return Target(address, security, token)

    def call(self, work: Callable[[Channel], Awaitable[T]], *, answer_s: float | None = ANSWER_S) -> T:
        """What the work gives, on a channel to whom the flags name.

        Args:
            work: calls it.
            answer_s: how long it may take; None for a stream.

        Raises:
            StartupError: nobody is there, or the call fails.
            typer.Exit: interrupted.
        """
        opened = self._channel()
        interrupts_raise()
        try:
            return asyncio.run(_called(opened, work, answer_s))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    def use(
        self, work: Callable[[Client], Awaitable[T]], *, answer_s: float | None = ANSWER_S, org: str | None = None
    ) -> T:
        """As `call`, by a client.

        Args:
            work: calls it.
            answer_s: how long it may take; None for a stream.
            org: the organization of what is made or named without one; that of the profile where it is empty.
        """
        from stigmer.client import Client  # noqa: PLC0415  # not for help

        return self.call(lambda channel: work(Client(channel, org=org or self.org)), answer_s=answer_s)

    def _channel(self) -> AbstractAsyncContextManager[Any]:
        if self.data_dir is not None:
            from stigmer.app.keys import check_there  # noqa: PLC0415  # not for help

            settings = loaded(config=self.config, data_dir=self.data_dir, keyring_file=self.keyring_file)
            check_there(settings)
            return _of_database(settings)
        if self.keyring_file is not None:
            raise StartupError("--keyring-file goes with --data-dir; a running server has its own keyring")
        return self.target().channel()

    def _security(self, settings: Settings | None) -> ssl.SSLContext | None:
        """The client's side of TLS; None for plain text."""
        pinned = settings.tls_cert if settings and self.ca is None else None
        if self.ca is None and pinned is None and self.client_cert is None:
            return None
        from stigmer.rpc import tls_context  # noqa: PLC0415  # not for help

        authorities = None if self.ca == _SYSTEM else self.ca or pinned
        try:
            context = tls_context(authorities, cert=self.client_cert, key=self.client_key)
        except OSError as error:  # ssl.SSLError is one
            raise StartupError(
                f"--ca, --client-cert or --client-key: {error}; give PEM files that belong together"
            ) from None
        if pinned is not None:  # our own server's certificate, dialled by whatever address
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        return context


def on_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first argument is a Callee, the flags that name a server."""
    return _flagged(command, _OF_SERVER)


def on_server_or_database(command: Callable[..., None]) -> Callable[..., None]:
    """As `on_server`, with the flags that name a database in place of a server as well."""
    return _flagged(command, {**_OF_SERVER, **_OF_DATABASE})


def _flagged(command: Callable[..., None], flags: dict[str, Any]) -> Callable[..., None]:
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    def run(**given: Any) -> None:  # noqa: ANN401  # what each flag is of
        callee = Callee(**{name: given.pop(name) for name in flags if name in given})
        command(callee.with_profile(), **given)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    shared = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=flag) for name, flag in flags.items()]
    run.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]  # inspect looks for it on every function
    return run


async def _called(
    opened: AbstractAsyncContextManager[Channel], work: Callable[[Channel], Awaitable[T]], answer_s: float | None
) -> T:
    async with opened as channel:
        try:
            async with asyncio.timeout(answer_s):
                return await work(channel)
        except TimeoutError:
            raise StartupError(f"no answer within {answer_s:g} s: try again when the server is less busy") from None


@asynccontextmanager
async def _of_database(settings: Settings) -> AsyncGenerator[Any]:
    """A channel to the services of a stopped server's database."""
    from grpclib.exceptions import GRPCError  # noqa: PLC0415  # not for help

    from stigmer.app.keys import stopped  # noqa: PLC0415  # as above
    from stigmer.rpc import error_of  # noqa: PLC0415  # as above

    async with stopped(settings) as channel:
        try:
            yield channel
        except GRPCError as error:
            raise StartupError(error_of(error).message) from None


def _address(text: str) -> Address:
    try:
        return address_of(text).dialled
    except ValueError as error:
        raise StartupError(f"--server: {text!r}: {error}") from None


def _token(file: Path | None) -> str:
    """The token to call with, without the line's end that its file has; empty for none."""
    if file is None:
        return os.environ.get("STIGMER_TOKEN", "").strip()
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"--token-file: {error}; give the file that `stigmer tokens new` was printed to") from None
