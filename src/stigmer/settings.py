"""Typed settings: made of arguments alone, or read once by `Settings.load`.

`load` takes flags, then `STIGMER_*` variables, then a TOML file, then defaults. `cli` calls it; `app` is handed the
result. Every setting is a field here, and its description is the only text about it: `stigmer serve --help` shows it,
README and `stigmer.example.toml` repeat it (tests compare them).
"""

from __future__ import annotations

import difflib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationInfo

SECTIONS = {"tls_cert": "TLS", "tokens_file": "Callers", "max_message_bytes": "Limits", "memory_wait_s": "Time limits"}
"""The heading of the settings from this one on, in the help and in the example file."""

OF_THE_CLIENT = frozenset({"SERVER", "TOKEN", "TOKEN_FILE", "PROFILE", "ORG", "CA", "CLIENT_CERT", "CLIENT_KEY"})
"""What the client reads of `STIGMER_*`: no settings of the server, and no mistake either."""

_PREFIX = "STIGMER_"
_SHOWN_CHARS = 80
_TOGETHER = (("tls_key", "tls_cert"), ("tls_cert", "tls_key"), ("tls_client_ca", "tls_cert"))
_NESTED = (  # of which settings how many times the one must fit into the other
    ("max_message_bytes", "max_connection_memory_bytes", 1),
    ("max_connection_memory_bytes", "max_memory_bytes", 2),
)
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


def _given(value: object) -> object:
    """A path that can be one: Path would take an empty text for the current directory, and NUL until it is used."""
    if value == "":
        raise ValueError("empty; give a path, or leave it out")
    if "\0" in str(value):
        raise ValueError("holds a NUL character; give a path without")
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _pem(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("no such file; give the path of a PEM file")
    return path


def _number(value: object) -> object:
    if isinstance(value, bool):  # pydantic would take true for 1
        raise ValueError("not a number")  # noqa: TRY004  # pydantic's word for a wrong value
    return value


_Address = Annotated[str, AfterValidator(lambda value: value if split_address(value) else "")]
_Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=2**31 - 1)]
_Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[_Seconds, Field(gt=0)]
_Path = Annotated[Path, BeforeValidator(_given)]
_Pem = Annotated[_Path, AfterValidator(_pem)]
_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


def _set(default: Any, description: str) -> Any:  # noqa: ANN401  # as Field
    return Field(default, description=description)


class Settings(BaseModel):
    """Everything that can be set, checked and frozen.

    Making one takes its arguments and the defaults, and nothing from the environment or a file; a wrong or unknown
    argument is pydantic's ValidationError. `load` reads the environment and the file as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    config: _Path | None = _set(None, "TOML file with settings; else ~/.stigmer/stigmer.toml, if there.")
    listen: _Address = _set("127.0.0.1:7234", "Address to listen on; port 0 takes a free one.")
    data_dir: Annotated[_Path, AfterValidator(Path.absolute)] = Field(
        default_factory=lambda: Path.home() / ".stigmer",
        description="Directory of the database; made when missing, used by one server at a time.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _Lower] = _set(
        "info", "Least level that is logged."
    )
    log_format: Annotated[Literal["console", "json"], _Lower] = _set(
        "console", "Form of the log on stderr: for people, or one JSON object a line."
    )
    metrics: _Address | None = _set(None, "Address to serve metrics on for Prometheus, at /metrics; none without.")
    uvloop: bool = _set(True, "Run on uvloop where it is installed.")
    tls_cert: _Pem | None = _set(None, "PEM file of the server's certificate chain; turns TLS on.")
    tls_key: _Pem | None = _set(None, "PEM file of the certificate's private key.")
    tls_client_ca: _Pem | None = _set(None, "PEM file of the authorities whose client certificates are required.")
    tokens_file: _Path | None = _set(None, "File of the tokens that callers are known by; `stigmer tokens` makes it.")
    max_message_bytes: _Count = _set(10 * 2**20, "Largest request message taken, in bytes.")
    max_message_parts: _Count = _set(
        100_000, "Largest number of submessages, list and map entries in a request or a row."
    )
    max_resource_bytes: _Count = _set(3 * 2**20, "Largest metadata and spec of a resource together, in bytes.")
    max_streams: _Count = _set(1000, "Calls open at once on one connection.")
    max_connections: _Count = _set(10_000, "Connections open at once.")
    max_idle_connections: _Count = _set(1000, "Connections without a first call; the oldest are closed for new ones.")
    max_connection_memory_bytes: _Count = _set(32 * 2**20, "Bytes of requests and replies held for one connection.")
    max_memory_bytes: _Count = _set(256 * 2**20, "Bytes of requests and replies held for all connections.")
    max_subscriptions: _Count = _set(10_000, "Subscriptions open at once on the whole server.")
    memory_wait_s: _Positive = _set(
        30.0, "Seconds that a call waits for room in the memory limits before it is refused."
    )
    request_timeout_s: _Positive = _set(30.0, "Seconds without a byte of an unfinished request before it is ended.")
    reply_timeout_s: _Positive = _set(60.0, "Seconds that a reply may stay unread before its call is ended.")
    handshake_timeout_s: _Positive = _set(10.0, "Seconds that a TLS handshake may take.")
    idle_connection_s: _Positive = _set(30.0, "Seconds that a connection may stay without a first call.")
    keepalive_s: _Positive = _set(30.0, "Seconds of silence before a connection is pinged.")
    keepalive_timeout_s: _Positive = _set(10.0, "Seconds without an answer before a pinged connection is closed.")
    grace_s: _Seconds = _set(10.0, "Seconds that calls in flight get to finish when stopping.")

    @model_validator(mode="after")
    def _fit_together(self, info: ValidationInfo) -> Self:
        if self.config is not None and info.context is None:
            raise ValueError("config: a file is read by Settings.load alone; call Settings.load(config=…)")
        for name, needs in _TOGETHER:
            if getattr(self, name) and not getattr(self, needs):
                raise ValueError(f"{name}: {name} needs {needs}; give both or neither")
        for small, large, times in _NESTED:
            least = times * getattr(self, small)
            if least > getattr(self, large):
                name = small if small in self.model_fields_set else large
                what = f"{large} must be {least} or more for this {small}; raise it, or lower the other"
                raise ValueError(f"{name}: {what}")
        return self

    @classmethod
    def load(cls, **flags: object) -> Self:
        """The settings of this process; a flag that is None was not given.

        An empty variable counts as unset. One UserWarning tells of `STIGMER_*` variables that are no setting.

        Raises:
            StartupError: a line for each thing wrong, with its source (flag, variable, file and key) and the remedy.
        """
        sources: Mapping[str, str] = {}
        try:
            values, sources = _gathered(flags)
            return cls.model_validate(values, context=sources)
        except ValidationError as error:
            lines = [_complaint(one, sources) for one in error.errors(include_url=False)]
            raise StartupError("\n".join(lines)) from None
        except RuntimeError as error:  # pathlib's answer where no home directory is known
            raise StartupError(f"{error}; set HOME, or give --data-dir and --config without ~") from None

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
        tls = f"-cacert {self.tls_cert}" if self.tls_cert else "-plaintext"
        if self.tls_client_ca:
            tls += " -cert CLIENT.pem -key CLIENT.key"
        return f"grpcurl {tls} {self.reachable_at(port)} list"


class _Sources(Settings, BaseSettings):
    """The fields as pydantic-settings finds them in variables and in the file; never made."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True)


def is_path(annotation: object) -> bool:
    """Whether a setting with this annotation is a path."""
    return annotation is Path or any(map(is_path, get_args(annotation)))


def _gathered(flags: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each setting's value from the source that wins, and that source in words. Raises what `load` turns into words."""
    given = {name: value for name, value in flags.items() if value is not None}
    variables = EnvSettingsSource(_Sources)()
    _warn_of_unknown()
    values = {**variables, **given}
    sources = {name: f"{_PREFIX}{name.upper()}" for name in variables}
    sources |= {name: f"--{name.replace('_', '-')}" for name in given}
    config = values.get("config")
    if config is None and (default := Path.home() / ".stigmer" / "stigmer.toml").is_file():
        config = default
    if not isinstance(config, str | Path) or config == "":
        return values, sources  # there is none, or what is no path is refused by name
    path = Path(config).expanduser()
    table = _table(path, sources.get("config", ""))
    return {**table, **values, "config": path}, {name: f"{_text(path)}: {_text(name)}" for name in table} | sources


def _table(path: Path, source: str) -> dict[str, Any]:
    """The file's keys and values, relative paths anchored at the file."""
    table = _read(path, source)
    if "config" in table:
        raise StartupError(f"{_text(path)}: config: a settings file cannot name another; remove the key")
    for name, value in table.items():
        field = Settings.model_fields.get(name)
        if field and is_path(field.annotation) and isinstance(value, str) and value and "\0" not in value:
            table[name] = path.parent / Path(value).expanduser()
    return table


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        if not path.is_file():  # pydantic-settings would pass over it
            what = "not a file" if path.exists() else "no such file"
            raise StartupError(f"{_text(path)}: {what}; correct {source}, or leave it out")
        return TomlConfigSettingsSource(_Sources, path)()
    except OSError as error:
        what = f"cannot be read ({error.strerror}); check the path and its permissions"
    except RecursionError:
        what = "nested too deep; every setting is one plain value"
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        what = f"not a TOML file ({error}); see stigmer.example.toml"
    raise StartupError(f"{_text(path)}: {what}")


def _warn_of_unknown() -> None:
    """One warning of all variables that look like settings and are none."""
    given = sorted(name for name, value in os.environ.items() if name.upper().startswith(_PREFIX) and value)
    bare = {name: name.upper().removeprefix(_PREFIX) for name in given}
    passed = {name.upper() for name in Settings.model_fields} | OF_THE_CLIENT
    # what Kubernetes injects for a service called stigmer, or stigmer-anything
    services = {""} | {word.removesuffix("SERVICE_HOST") for word in bare.values() if word.endswith("SERVICE_HOST")}
    injected = tuple(service + word for service in services for word in ("SERVICE_", "PORT"))
    unknown = {name: word for name, word in bare.items() if word not in passed and not word.startswith(injected)}
    if unknown:
        words = ", ".join(f"{_text(name)} ({_meant(word, _PREFIX, 'no setting')})" for name, word in unknown.items())
        warnings.warn(f"unknown variables: {words}; correct or unset them", stacklevel=4)


def _complaint(error: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """One line about one wrong value: its source, what is wrong, what to do."""
    what = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # about settings together
        name, _, what = what.partition(": ")
        return f"{sources[name]}: {what}"
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        known = ", ".join(field for field in Settings.model_fields if field != "config")
        return f"{sources[name]}: unknown setting; {_meant(name, '', f'remove it, or use one of {known}')}"
    hint = "" if ";" in what else f"; {Settings.model_fields[name].description}"
    return f"{sources[name]}: {_shown(error['input'])}: {what}{hint}"


def _meant(name: str, prefix: str, otherwise: str) -> str:
    for near in difflib.get_close_matches(name.lower(), Settings.model_fields, n=1):
        return f"did you mean {prefix}{near.upper() if prefix else near}?"
    return otherwise


def _text(text: str | Path) -> str:
    """As it is where it stays on its line, else its repr."""
    return str(text) if str(text).isprintable() else repr(str(text))


def _shown(value: object) -> str:
    if isinstance(value, dict | list):  # maybe too deep for a repr
        return "a table" if isinstance(value, dict) else "an array"
    text = _text(value) if isinstance(value, Path) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
