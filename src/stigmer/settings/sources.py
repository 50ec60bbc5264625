"""Where settings come from: flags, `STIGMER_*` variables, a TOML file; and what is said of wrong ones.

`Settings.load` calls it with the class of the settings.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from stigmer.address import anchored
from stigmer.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

OF_THE_CLIENT = frozenset({"SERVER", "TOKEN", "TOKEN_FILE", "PROFILE", "ORG", "CA", "CLIENT_CERT", "CLIENT_KEY"})
"""What the client reads of `STIGMER_*`: no settings of the server, and no mistake either."""

_PREFIX = "STIGMER_"
_SHOWN_CHARS = 80


def is_path(annotation: object) -> bool:
    """Whether a setting with this annotation is a path."""
    return annotation is Path or any(map(is_path, get_args(annotation)))


def gathered(model: type[BaseModel], flags: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each setting's value from the source that wins, and that source in words.

    Raises:
        StartupError: the file cannot be read.
        RuntimeError: no home directory is known.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    held = {name.upper(): value for name, value in os.environ.items() if value}
    variables = {name: held[word] for name in model.model_fields if (word := f"{_PREFIX}{name.upper()}") in held}
    _warn_of_unknown(model)
    values = {**variables, **given}
    sources = {name: f"{_PREFIX}{name.upper()}" for name in variables}
    sources |= {name: f"--{name.replace('_', '-')}" for name in given}
    config = values.get("config")
    if config is None and (default := Path.home() / ".stigmer" / "stigmer.toml").is_file():
        config = default
    if not isinstance(config, str | Path) or config == "":
        return values, sources  # there is none, or what is no path is refused by name
    path = Path(config).expanduser()
    table = _table(model, path, sources.get("config", ""))
    return {**table, **values, "config": path}, {name: f"{_text(path)}: {_text(name)}" for name in table} | sources


def _table(model: type[BaseModel], path: Path, source: str) -> dict[str, Any]:
    """The file's keys and values, relative paths anchored at the file."""
    table = _read(path, source)
    if "config" in table:
        raise StartupError(f"{_text(path)}: config: a settings file cannot name another; remove the key")
    for name, value in table.items():
        field = model.model_fields.get(name)
        if field and is_path(field.annotation) and isinstance(value, str) and _is_relative(value):
            table[name] = path.parent / Path(value).expanduser()
    if isinstance(listen := table.get("listen"), str | list):
        several = listen.split(",") if isinstance(listen, str) else cast("list[object]", listen)
        table["listen"] = [anchored(one, path.parent) if isinstance(one, str) else one for one in several]
    return table


def _is_relative(value: str) -> bool:
    """Whether a text can be a path from the file's directory on: no URL, and nothing that is refused as it is."""
    return bool(value) and "\0" not in value and "://" not in value


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        if not path.is_file():  # nor is a pipe read, for which nobody may ever write
            what = "not a file" if path.exists() else "no such file"
            raise StartupError(f"{_text(path)}: {what}; correct {source}, or leave it out")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        what = f"cannot be read ({error.strerror}); check the path and its permissions"
    except RecursionError:
        what = "nested too deep; every setting is one plain value"
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        what = f"not a TOML file ({error}); see stigmer.example.toml"
    raise StartupError(f"{_text(path)}: {what}")


def _warn_of_unknown(model: type[BaseModel]) -> None:
    """One warning of all variables that look like settings and are none."""
    given = sorted(name for name, value in os.environ.items() if name.upper().startswith(_PREFIX) and value)
    bare = {name: name.upper().removeprefix(_PREFIX) for name in given}
    passed = {name.upper() for name in model.model_fields} | OF_THE_CLIENT
    # what Kubernetes injects for a service called stigmer, or stigmer-anything
    services = {""} | {word.removesuffix("SERVICE_HOST") for word in bare.values() if word.endswith("SERVICE_HOST")}
    injected = tuple(service + word for service in services for word in ("SERVICE_", "PORT"))
    unknown = {name: word for name, word in bare.items() if word not in passed and not word.startswith(injected)}
    if unknown:
        words = ", ".join(
            f"{_text(name)} ({_meant(word, model, _PREFIX, 'no setting')})" for name, word in unknown.items()
        )
        warnings.warn(f"unknown variables: {words}; correct or unset them", stacklevel=4)


def complaint(error: Mapping[str, Any], sources: Mapping[str, str], model: type[BaseModel]) -> str:
    """One line about one wrong value: its source, what is wrong, what to do."""
    what = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # about settings together
        name, _, what = what.partition(": ")
        return f"{sources[name]}: {what}"
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        known = ", ".join(field for field in model.model_fields if field != "config")
        return f"{sources[name]}: unknown setting; {_meant(name, model, '', f'remove it, or use one of {known}')}"
    hint = "" if ";" in what else f"; {model.model_fields[name].description}"
    return f"{sources[name]}: {_shown(error['input'])}: {what}{hint}"


def _meant(name: str, model: type[BaseModel], prefix: str, otherwise: str) -> str:
    for near in difflib.get_close_matches(name.lower(), model.model_fields, n=1):
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
