"""Which server the environment names: variables, and profiles in a TOML file of the user's.

```toml
profile = "work"            # where neither an argument nor STIGMER_PROFILE names one

[profiles.work]
server = "stigmer.example.com:7234"
org = "acme"
token_file = "token"        # files are looked for beside this one
ca = "ca.pem"               # or "system"; client_cert and client_key beside it
```
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stigmer.rpc import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

DEFAULT_SERVER = "127.0.0.1:7234"
SYSTEM = "system"
"""In place of a file of authorities: those that this system trusts."""
_FILES = ("token_file", "ca", "client_cert", "client_key")
_NAMES = ("server", "org", "token", *_FILES)


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and how to call it: what a client is made with."""

    server: str
    org: str
    token: str | None = field(repr=False)
    token_file: str | None
    tls: Callable[[], ssl.SSLContext] | bool


def config_file(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where the user's profiles are: in the directory that the platform has for configurations."""
    if platform == "win32":
        base = environment.get("APPDATA", "~/AppData/Roaming")
    elif platform == "darwin" and "XDG_CONFIG_HOME" not in environment:
        base = "~/Library/Application Support"
    else:
        base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "stigmer" / "config.toml"


def profile_of(name: str | None = None, environment: Mapping[str, str] = os.environ) -> Profile:
    """What the variables say, and the profile where they say nothing.

    Args:
        name: of the profile; None for that of STIGMER_PROFILE, or of the file itself.
        environment: the variables.

    Raises:
        ValueError: the profile is not there, or a setting of it is none.
        OSError: the file cannot be read.
    """
    said = {one: environment.get(f"STIGMER_{one.upper()}", "") for one in _NAMES}
    kept = kept_profile(name or environment.get("STIGMER_PROFILE", ""), environment)
    if said["token"] or said["token_file"]:  # the one or the other, and not that of the profile beside it
        kept = {one: value for one, value in kept.items() if not one.startswith("token")}
    found = {one: said[one] or kept.get(one) for one in _NAMES}
    return Profile(
        server=found["server"] or DEFAULT_SERVER,
        org=found["org"] or "",
        token=found["token"] or None,
        token_file=found["token_file"] or None,
        tls=_tls(found["ca"], found["client_cert"], found["client_key"]),
    )


def _tls(ca: str | None, cert: str | None, key: str | None) -> Callable[[], ssl.SSLContext] | bool:
    """How TLS is spoken; False for not at all."""
    if not ca and not cert:
        if key:
            raise ValueError("a client's key without its certificate: set STIGMER_CLIENT_CERT, or client_cert, too")
        return False
    return partial(tls_context, None if ca == SYSTEM else ca or None, cert=cert or None, key=key or None)


def kept_profile(name: str = "", environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The settings of a profile alone, its files' paths made absolute.

    Args:
        name: of the profile; empty for the one that the file names, or none.
        environment: tells where the file is.

    Raises:
        ValueError: the profile is not there, or a setting of it is none.
        OSError: the file cannot be read.
    """
    path = config_file(environment)
    if name and not path.exists():
        raise ValueError(f"there is no profile {name!r}: {path} does not exist; `stigmer config set` makes it")
    document = kept_document(path)
    profiles, name = document.get("profiles", {}), name or document.get("profile", "")
    if not name:
        return {}
    if name not in profiles:
        raise ValueError(f"{path}: there is no profile {name!r}; there are {', '.join(profiles) or 'none'}")
    return _checked(path, name, profiles[name])


def kept_document(path: Path) -> dict[str, Any]:
    """What the file says; nothing where there is none. Raises ValueError where it is no TOML, and OSError."""
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def document_text(document: Mapping[str, Any]) -> str:
    """The file's text: which profile is used, and a table for each. Raises ValueError where a setting is none."""
    blocks = [f"profile = {_quoted(document['profile'])}"] if document.get("profile") else []
    for name, settings in document.get("profiles", {}).items():
        _checked(Path(), name, settings)
        rows = (f"{key} = {_quoted(value)}" for key, value in settings.items())
        blocks.append("\n".join([f"[profiles.{_quoted(name)}]", *rows]))
    return "\n\n".join(blocks) + "\n"


def _quoted(text: str) -> str:
    """The text as TOML has it, whose escapes JSON shares."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(path: Path, name: str, profile: object) -> dict[str, str]:
    if not isinstance(profile, dict):
        raise ValueError(  # noqa: TRY004 - of a file's text, not of the program
            f"{path}: {name} must be a table, [profiles.{name}]"
        )
    settings = cast("dict[str, Any]", profile)
    for key, value in settings.items():
        if key not in _NAMES or not isinstance(value, str):
            raise ValueError(f"{path}: profiles.{name}.{key} is no setting; there are {', '.join(_NAMES)}, each a text")
    beside = path.parent
    return {
        key: value if key not in _FILES or value == SYSTEM else str(beside / Path(value).expanduser())
        for key, value in settings.items()
    }
