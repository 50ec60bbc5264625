"""Typed settings: made of arguments alone, or read once by `Settings.load`.

`load` takes flags, then `STIGMER_*` variables, then a TOML file, then defaults. `cli` calls it; `app` is handed the
result. Every setting is a field here, and its description is the only text about it: `stigmer serve --help` shows it,
README and `stigmer.example.toml` repeat it (tests compare them).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stigmer.errors import StartupError
from stigmer.settings.source import Given, gather

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]

SECTIONS = {"tls_cert": "TLS", "max_message_bytes": "Limits", "memory_wait_s": "Time limits"}
"""The heading of the settings from this one on, in the help and in the example file."""

_NESTED = (  # of which settings how many times the one must fit into the other
    ("max_message_bytes", "max_connection_memory_bytes", 1),
    ("max_connection_memory_bytes", "max_memory_bytes", 2),
)
_MAX_INT32 = 2**31 - 1
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not bound to


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`; ValueError says how to write it."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    is_host = bare.isprintable() and not set(bare) & set(" []") and (":" in bare) == bracketed
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if not (bare and colon and is_host and is_port):
        raise ValueError("not HOST:PORT; write it like 127.0.0.1:7234 or [::1]:7234")
    return bare, int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


def _given(value: object) -> object:
    """A path that can be one: Path would take an empty text for the current directory, and NUL until it is used."""
    if value == "":
        raise ValueError("empty; give a path, or leave it out")
    if "\0" in str(value):
        raise ValueError("holds a NUL character; give a path without")
    return Path(value) if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _pem(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise ValueError("no such file; give the path of a PEM file")
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _number(value: object) -> object:
    """Pydantic would take `true` for 1, and infinity for a number of seconds."""
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("not a number")
    return value


_Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=_MAX_INT32)]
_Seconds = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
_Path = Annotated[Path, BeforeValidator(_given)]
_Pem = Annotated[_Path, AfterValidator(_pem)]


class Settings(BaseModel):
    """Everything that can be set, checked and frozen.

    Making one takes its arguments and the defaults, and nothing from the environment or a file; a wrong or unknown
    argument is pydantic's ValidationError. `load` reads the environment and the file as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    config: _Path | None = Field(
        default=None, description="TOML file with settings; else ~/.stigmer/stigmer.toml, if there."
    )
    listen: Annotated[str, AfterValidator(_address)] = Field(
        default="127.0.0.1:7234", description="Address to listen on; port 0 takes a free one."
    )
    data_dir: Annotated[_Path, AfterValidator(_absolute)] = Field(
        default_factory=lambda: Path.home() / ".stigmer",
        description="Directory of the database; made when missing, used by one server at a time.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Annotated[LogFormat, BeforeValidator(_lower)] = Field(
        default="console", description="Form of the log on stderr: for people, or one JSON object a line."
    )
    uvloop: bool = Field(default=True, description="Run on uvloop where it is installed.")
    tls_cert: _Pem | None = Field(default=None, description="PEM file of the server's certificate chain; turns TLS on.")
    tls_key: _Pem | None = Field(default=None, description="PEM file of the certificate's private key.")
    tls_client_ca: _Pem | None = Field(
        default=None, description="PEM file of the authorities whose client certificates are required."
    )
    max_message_bytes: _Count = Field(default=10 * 2**20, description="Largest request message taken, in bytes.")
    max_message_parts: _Count = Field(
        default=100_000, description="Largest number of submessages, list and map entries in a request or a row."
    )
    max_resource_bytes: _Count = Field(
        default=3 * 2**20, description="Largest metadata and spec of a resource together, in bytes."
    )
    max_streams: _Count = Field(default=1000, description="Calls open at once on one connection.")
    max_connections: _Count = Field(default=10_000, description="Connections open at once.")
    max_idle_connections: _Count = Field(
        default=1000, description="Connections without a first call; the oldest are closed for new ones."
    )
    max_connection_memory_bytes: _Count = Field(
        default=32 * 2**20, description="Bytes of requests and replies held for one connection."
    )
    max_memory_bytes: _Count = Field(
        default=256 * 2**20, description="Bytes of requests and replies held for all connections."
    )
    max_subscriptions: _Count = Field(default=10_000, description="Subscriptions open at once on the whole server.")
    memory_wait_s: _Seconds = Field(
        default=30.0, gt=0, description="Seconds that a call waits for room in the memory limits before it is refused."
    )
    request_timeout_s: _Seconds = Field(
        default=30.0, gt=0, description="Seconds without a byte of an unfinished request before it is ended."
    )
    reply_timeout_s: _Seconds = Field(
        default=60.0, gt=0, description="Seconds that a reply may stay unread before its call is ended."
    )
    handshake_timeout_s: _Seconds = Field(default=10.0, gt=0, description="Seconds that a TLS handshake may take.")
    idle_connection_s: _Seconds = Field(
        default=30.0, gt=0, description="Seconds that a connection may stay without a first call."
    )
    keepalive_s: _Seconds = Field(default=30.0, gt=0, description="Seconds of silence before a connection is pinged.")
    keepalive_timeout_s: _Seconds = Field(
        default=10.0, gt=0, description="Seconds without an answer before a pinged connection is closed."
    )
    grace_s: _Seconds = Field(
        default=10.0, ge=0, description="Seconds that calls in flight get to finish when stopping."
    )

    @field_validator("config")
    @classmethod
    def _read_by_load_alone(cls, config: Path | None, info: ValidationInfo) -> Path | None:
        if config is not None and info.context is None:
            raise ValueError("a file is read by Settings.load alone; call Settings.load(config=…)")
        return config

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if self.tls_key and not self.tls_cert:
            raise _incomplete("tls_key", "tls_cert")
        if self.tls_cert and not self.tls_key:
            raise _incomplete("tls_cert", "tls_key")
        if self.tls_client_ca and not self.tls_cert:
            raise _incomplete("tls_client_ca", "tls_cert")
        return self

    @model_validator(mode="after")
    def _messages_fit(self) -> Self:
        for small, large, times in _NESTED:
            least = times * getattr(self, small)
            if least > getattr(self, large):
                name = small if small in self.model_fields_set else large
                raise _too_small(name, large, least, small)
        return self

    @classmethod
    def load(cls, **flags: object) -> Self:
        """The settings of this process; a flag that is None was not given.

        A variable that is empty counts as unset. One line warns (UserWarning) of `STIGMER_*` variables that are no
        setting.

        Raises:
            StartupError: one line for each thing wrong, with its source (flag, variable, or file and key) and the
                remedy.
        """
        try:
            return cls._checked(gather(_Sources, flags))
        except RuntimeError as error:  # pathlib's answer where no home directory is known
            raise StartupError(f"{error}; set HOME, or give --data-dir and --config without ~") from None

    @classmethod
    def _checked(cls, given: Given) -> Self:
        try:
            return cls.model_validate(given.values, context=given)
        except ValidationError as error:
            lines = [given.complaint(one, cls) for one in error.errors(include_url=False)]
            raise StartupError("\n".join(lines)) from None

    @property
    def host(self) -> str:
        """The host to bind, without brackets."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """The port to bind; 0 for a free one."""
        return split_address(self.listen)[1]

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def reachable_at(self, port: int | None = None) -> str:
        """The address that a caller on this machine dials; `port` is the bound one where `listen` says 0."""
        host = _WILDCARDS.get(self.host, self.host)
        return f"[{host}]:{port or self.port}" if ":" in host else f"{host}:{port or self.port}"

    def how_to_call(self, port: int | None = None) -> str:
        """A shell command that lists the services; for the line that the server logs when it starts."""
        tls = "-plaintext"
        if self.tls_cert:
            tls = f"-cacert {self.tls_cert}"
        if self.tls_client_ca:
            tls += " -cert CLIENT.pem -key CLIENT.key"
        return f"grpcurl {tls} {self.reachable_at(port)} list"


class _Sources(Settings, BaseSettings):
    """The fields as pydantic-settings finds them in variables and in the file; never made."""

    model_config = SettingsConfigDict(env_prefix="STIGMER_", env_ignore_empty=True)


def _incomplete(name: str, needs: str) -> PydanticCustomError:
    message = "{name} needs {needs}; give both or neither"
    return PydanticCustomError("incomplete", message, {"name": name, "needs": needs})


def _too_small(name: str, large: str, least: int, small: str) -> PydanticCustomError:
    message = "{large} must be {least} or more for this {small}; raise it, or lower the other"
    return PydanticCustomError("too_small", message, {"name": name, "large": large, "least": least, "small": small})
