"""What flags, variables and the TOML file hold, and the words that name a wrong value's source.

pydantic-settings reads the variables and the file. Used by `settings`, and by the command line for its flags.
"""

from __future__ import annotations

import difflib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic_settings import BaseSettings, EnvSettingsSource, TomlConfigSettingsSource

from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

OF_THE_CLIENT = frozenset({"SERVER", "TOKEN", "TOKEN_FILE", "PROFILE", "ORG", "CA", "CLIENT_CERT", "CLIENT_KEY"})
"""What the client reads of `STIGMER_*`: no settings of the server, and no mistake either."""

_PREFIX = "STIGMER_"
_SHOWN_CHARS = 80


@dataclass(frozen=True)
class Given:
    """What was set.

    Attributes:
        values: each setting's value, from the source that wins.
        sources: where each comes from, in words: `--listen`, `STIGMER_LISTEN`, `stigmer.toml: listen`.
    """

    values: dict[str, Any]
    sources: dict[str, str]

    def complaint(self, error: ErrorDetails, model: type[BaseModel]) -> str:
        """One line about one wrong value: its source, what is wrong, what to do."""
        if not error["loc"]:  # about several settings; the context names the one to change
            return f"{self.sources[error.get('ctx', {})['name']]}: {error['msg']}"
        name = str(error["loc"][0])
        if error["type"] == "extra_forbidden":
            return f"{self.sources[name]}: unknown setting; {_remedy(name, model)}"
        what = error["msg"].removeprefix("Value error, ")
        hint = "" if ";" in what else f"; {model.model_fields[name].description}"
        return f"{self.sources[name]}: {_shown(error['input'])}: {what}{hint}"


def gather(model: type[BaseSettings], flags: Mapping[str, object]) -> Given:
    """What the sources hold for the model's fields; a flag that is None was not given. Warns of unknown variables.

    Raises:
        StartupError: the file cannot be read.
        RuntimeError: no home directory is known, and one is needed.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    variables = EnvSettingsSource(model)()
    _warn_of_unknown(os.environ, model.model_fields)
    sources = {name: f"{_PREFIX}{name.upper()}" for name in variables}
    sources |= {name: f"--{name.replace('_', '-')}" for name in given}
    named = {**variables, **given}
    path = _file(named.get("config"))
    if path is None:
        return Given(named, sources)
    table = _table(model, path, sources.get("config", ""))
    sources = {name: f"{_text(str(path))}: {_text(name)}" for name in table} | sources
    return Given({**table, **named, "config": path}, sources)


def _file(config: object) -> Path | None:
    """The path of the TOML file to read; None where none is named and the default one is missing."""
    if config == "":
        return None  # refused by name when the settings are checked
    if isinstance(config, str | Path):
        return Path(config).expanduser()
    default = Path.home() / ".stigmer" / "stigmer.toml"
    return default if default.is_file() else None


def _table(model: type[BaseSettings], path: Path, source: str) -> dict[str, Any]:
    """The file's keys and values, relative paths anchored at the file. Raises StartupError."""
    table = _read(model, path, source)
    if "config" in table:
        raise StartupError(f"{_text(str(path))}: config: a settings file cannot name another; remove the key")
    return {name: _anchored(path, model.model_fields.get(name), value) for name, value in table.items()}


def _read(model: type[BaseSettings], path: Path, source: str) -> dict[str, Any]:
    file = _text(str(path))
    try:
        if not path.is_file():  # pydantic-settings would pass over it
            what = "not a file" if path.exists() else "no such file"
            raise StartupError(f"{file}: {what}; correct {source}, or leave it out")
        return TomlConfigSettingsSource(model, path)()
    except OSError as error:
        raise StartupError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except RecursionError:
        raise StartupError(f"{file}: nested too deep; every setting is one plain value") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise StartupError(f"{file}: not a TOML file ({error}); see stigmer.example.toml") from None


def _anchored(path: Path, field: FieldInfo | None, value: object) -> object:
    if field and is_path(field.annotation) and isinstance(value, str) and value and "\0" not in value:
        return path.parent / Path(value).expanduser()
    return value


def is_path(annotation: object) -> bool:
    """Whether a setting with this annotation is a path."""
    return annotation is Path or any(map(is_path, get_args(annotation)))


def _warn_of_unknown(environ: Mapping[str, str], known: Collection[str]) -> None:
    """One warning of all variables that look like settings and are none."""
    given = [name for name, value in environ.items() if name.upper().startswith(_PREFIX) and value]
    bare = {name: name.upper().removeprefix(_PREFIX) for name in sorted(given)}
    services = tuple(_of_kubernetes(bare.values()))
    passed = {name.upper() for name in known} | OF_THE_CLIENT
    unknown = {name: word for name, word in bare.items() if word not in passed and not word.startswith(services)}
    if unknown:
        words = ", ".join(f"{_text(name)} ({_meant(word, known)})" for name, word in unknown.items())
        warnings.warn(f"unknown variables: {words}; correct or unset them", stacklevel=4)


def _of_kubernetes(names: Iterable[str]) -> list[str]:
    """How the variables go on that Kubernetes injects for a service called stigmer, or stigmer-anything."""
    services = {name.removesuffix("SERVICE_HOST") for name in names if name.endswith("SERVICE_HOST")}
    return [service + word for service in {"", *services} for word in ("SERVICE_", "PORT")]


def _meant(word: str, known: Iterable[str]) -> str:
    near = _near(word.lower(), known)
    return f"did you mean {_PREFIX}{near.upper()}?" if near else "no setting"


def _remedy(name: str, model: type[BaseModel]) -> str:
    known = [field for field in model.model_fields if field != "config"]
    near = _near(name, known)
    return f"did you mean {near}?" if near else f"remove it, or use one of {', '.join(known)}"


def _near(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def _text(text: str) -> str:
    """As it is where it stays on its line, else its repr."""
    return text if text.isprintable() else repr(text)


def _shown(value: object) -> str:
    if isinstance(value, dict | list):  # maybe too deep for a repr
        return "a table" if isinstance(value, dict) else "an array"
    text = _text(str(value)) if isinstance(value, Path) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
