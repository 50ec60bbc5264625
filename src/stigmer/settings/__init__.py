"""Typed settings: made of arguments alone, or read once by `Settings.load`.

`load` takes flags, then `STIGMER_*` variables, then a TOML file, then defaults. `cli` calls it; `app` is handed the
result. Every setting is a field here, and its description is the only text about it: `stigmer serve --help` shows it,
README and `stigmer.example.toml` repeat it (tests compare them).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from stigmer.address import Address, UnixAddress, address_of, is_loopback, tcp_address_of
from stigmer.errors import StartupError
from stigmer.settings import sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationInfo

SECTIONS = {
    "tls_cert": "TLS",
    "tokens_file": "Callers",
    "keyring_file": "Secrets",
    "max_message_bytes": "Limits",
    "memory_wait_s": "Time limits",
}
"""The heading of the settings from this one on, in the help and in the example file."""

_TOGETHER = (
    ("tls_key", "tls_cert"),
    ("tls_cert", "tls_key"),
    ("tls_client_ca", "tls_cert"),
    ("certificates_file", "tls_client_ca"),
    *(("jwt_issuer", name) for name in ("jwt_audience", "jwt_keys")),
    *(
        (f"jwt_{name}", "jwt_issuer")
        for name in ("audience", "keys", "role_claim", "organizations_claim", "default_role")
    ),
)
_NESTED = (  # of which settings how many times the one must fit into the other
    ("max_message_bytes", "max_connection_memory_bytes", 1),
    ("max_connection_memory_bytes", "max_memory_bytes", 2),
)


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


def _keys(value: object) -> object:
    """A URL that nobody on the way can answer for, else a path."""
    if not isinstance(value, str) or "://" not in value:
        return _given(value)
    url = urlsplit(value)
    is_private = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
    if not is_private or not url.hostname or "@" in url.netloc:
        raise ValueError("not https://HOST…; http:// is for this machine alone, a user has no place in it")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):  # pydantic would take true for 1
        raise ValueError("not a number")  # noqa: TRY004  # pydantic's word for a wrong value
    return value


def _separated(value: object) -> object:
    """A list as an array has it, or plain text with commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("empty, or one of them is there twice; give each one once")
    return values


_Address = Annotated[str, AfterValidator(lambda value: str(tcp_address_of(value)))]
_Listed = Annotated[str, AfterValidator(lambda value: str(address_of(value)))]
_Addresses = Annotated[tuple[_Listed, ...], BeforeValidator(_separated), AfterValidator(_distinct)]
_Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=2**31 - 1)]
_Quota = Annotated[int, BeforeValidator(_number), Field(ge=0, le=2**31 - 1)]
_Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[_Seconds, Field(gt=0)]
_Life = Annotated[_Seconds, Field(ge=1, le=2**31 - 1)]
_Path = Annotated[Path, BeforeValidator(_given)]
_Pem = Annotated[_Path, AfterValidator(_pem)]
_Text = Annotated[str, Field(min_length=1)]
_Keys = Annotated[str | Path, BeforeValidator(_keys)]
_Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]
_Algorithms = Annotated[tuple[_Algorithm, ...], BeforeValidator(_separated), AfterValidator(_distinct)]
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
    listen: _Addresses = _set(
        ("127.0.0.1:7234",), "Addresses to listen on: HOST:PORT, unix:PATH, or several; port 0 takes a free one."
    )
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
    tls_client_ca: _Pem | None = _set(
        None, "PEM file of the authorities whose client certificates are required, or asked for alone beside tokens."
    )
    tokens_file: _Path | None = _set(None, "File of the tokens that callers are known by; `stigmer tokens` makes it.")
    certificates_file: _Path | None = _set(
        None, "File of the names in client certificates that callers are known by; needs tls_client_ca."
    )
    jwt_issuer: _Text | None = _set(None, "Issuer of JWTs that callers are known by, as their `iss` says it.")
    jwt_audience: _Text | None = _set(None, "What `aud` of a JWT has to hold.")
    jwt_keys: _Keys | None = _set(None, "URL (https, or http on this machine) or file of the issuer's keys, a JWK set.")
    jwt_algorithms: _Algorithms = _set(get_args(_Algorithm), "Algorithms that a JWT may be signed by.")
    jwt_name_claim: _Text = _set("sub", "Claim of a JWT with the caller's name.")
    jwt_name_prefix: str = _set("oidc:", "What comes before such a name, so that it is nobody else's.")
    jwt_role_claim: _Text | None = _set(
        None, "Claim of a JWT with the caller's role, or with several, of which the highest counts."
    )
    jwt_organizations_claim: _Text | None = _set(
        None, "Claim of a JWT with the caller's organizations: a list, or a text with spaces or commas."
    )
    jwt_default_role: Literal["reader", "runner", "editor", "admin"] | None = _set(
        None, "Role of callers whose JWT gives none; without, they are refused."
    )
    insecure_allow_plaintext: bool = _set(
        False, "Take credentials in clear from other machines; for where something else keeps the network private."
    )
    insecure_allow_anonymous: bool = _set(
        False, "Let other machines call with no credentials; whoever reaches the server may do anything."
    )
    keyring_file: _Path | None = _set(
        None, "File of the keys that secrets are sealed under; else keyring.json in the data directory."
    )
    audit_checkpoint_file: _Path | None = _set(
        None, "File that signed checkpoints of the audit are added to, on another disk or host; none without."
    )
    audit_days: _Count = _set(183, "Days that the audit of secrets is kept.")
    context_ttl: _Life = _set(
        86_400.0, "Seconds that an execution context lives after its last use, at least 1; its execution fails then."
    )
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
    max_calls_per_principal: _Quota = _set(
        0, "Calls of one caller in progress at once, subscriptions aside; 0 sets no limit."
    )
    max_subscriptions_per_principal: _Quota = _set(0, "Subscriptions of one caller open at once; 0 sets no limit.")
    max_writes_per_principal_s: _Quota = _set(0, "Writes of one caller in a second; 0 sets no limit.")
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
        if self.jwt_issuer and not (self.jwt_role_claim or self.jwt_default_role):
            raise ValueError("jwt_issuer: jwt_issuer needs jwt_role_claim or jwt_default_role; give one of both")
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
        given: Mapping[str, str] = {}
        try:
            values, given = sources.gathered(Settings, flags)
            return cls.model_validate(values, context=given)
        except ValidationError as error:
            lines = [sources.complaint(one, given, Settings) for one in error.errors(include_url=False)]
            raise StartupError("\n".join(lines)) from None
        except RuntimeError as error:  # pathlib's answer where no home directory is known
            raise StartupError(f"{error}; set HOME, or give paths without ~") from None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to listen, in parts."""
        return tuple(map(address_of, self.listen))

    def how_to_call(self, address: Address) -> str:
        """A shell command that lists the services; for the line that the server logs when it starts."""
        if isinstance(address, UnixAddress):
            return f"grpcurl -plaintext -unix {address.path} list"
        tls = f"-cacert {self.tls_cert}" if self.tls_cert else "-plaintext"
        bears = self.tokens_file or self.jwt_issuer
        if self.tls_client_ca and not (bears and self.certificates_file):
            tls += " -cert CLIENT.pem -key CLIENT.key"
        if bears:
            tls += ' -H "authorization: Bearer TOKEN"'
        return f"grpcurl {tls} {address.dialled} list"
