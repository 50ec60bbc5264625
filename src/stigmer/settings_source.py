"""Where settings come from: the TOML file as a source, and the words that name a wrong value's source.

Used by `settings` alone.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from stigmer.startup import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

PATHS = frozenset({"data_dir", "tls_cert", "tls_key", "tls_client_ca"})
"""Settings that are paths: in the file, relative ones start at the file's own directory."""

_SHOWN_CHARS = 80


class TomlFile(PydanticBaseSettingsSource):
    """The file that `config` names, else `~/.stigmer/stigmer.toml` where there is one."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  # as the base
        """Unused: the whole table is read at once, so that unknown keys are seen."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The file's table, with `config` set to its path; empty where there is no file. Raises StartupError."""
        path = config_file(self.current_state.get("config"))
        if path is None:
            return {}
        table = _read(path)
        if "config" in table:
            raise StartupError(f"{_text(str(path))}: config: a settings file cannot name another; remove the key")
        return {name: _anchored(path, name, value) for name, value in table.items()} | {"config": path}


def config_file(config: object) -> Path | None:
    """The path of the TOML file to read; None where none is named and the default one is missing."""
    if config == "":
        return None  # refused by name when the settings are checked
    if isinstance(config, str | Path):
        return Path(config).expanduser()
    default = Path.home() / ".stigmer" / "stigmer.toml"
    return default if default.is_file() else None


def complaint(error: ErrorDetails, flags: Mapping[str, Any], model: type[BaseSettings]) -> str:
    """One line about one wrong value: its source, what is wrong, what to do."""
    context = error.get("ctx", {})
    if not error["loc"]:
        name = str(context.get("name", ""))
        return f"{_source(name, flags)}: {error['msg']}"
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{_source(name, flags)}: unknown setting; {_remedy(name, model)}"
    what = error["msg"].removeprefix("Value error, ")
    hint = "" if ";" in what else f"; {model.model_fields[name].description}"
    return f"{_source(name, flags)}: {_shown(error['input'])}: {what}{hint}"


def too_deep(flags: Mapping[str, Any]) -> StartupError:
    """The complaint about a file whose values nest deeper than can be followed."""
    return StartupError(f"{_file(flags)}: nested too deep; every setting is one plain value, see stigmer.example.toml")


def _read(path: Path) -> dict[str, Any]:
    file = _text(str(path))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        origin = _source("config", {} if "STIGMER_CONFIG" in os.environ else {"config": path})
        raise StartupError(f"{file}: no such file; correct {origin}, or leave it out") from None
    except OSError as error:
        raise StartupError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise StartupError(f"{file}: not a TOML file ({error}); see stigmer.example.toml") from None


def _anchored(path: Path, name: str, value: object) -> object:
    if name in PATHS and isinstance(value, str) and value and "\0" not in value:
        return path.parent / Path(value).expanduser()
    return value


def _source(name: str, flags: Mapping[str, Any]) -> str:
    if name in flags:
        return f"--{name.replace('_', '-')}"
    variable = f"STIGMER_{name.upper()}"
    if any(key.upper() == variable and value for key, value in os.environ.items()):
        return variable
    return f"{_file(flags)}: {_text(name)}"


def _file(flags: Mapping[str, Any]) -> str:
    path = config_file(flags.get("config") or os.environ.get("STIGMER_CONFIG") or None)
    return _text(str(path))


def _remedy(name: str, model: type[BaseSettings]) -> str:
    known = [field for field in model.model_fields if field != "config"]
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"remove it, or use one of {', '.join(known)}"


def _text(text: str) -> str:
    """As it is where it stays on its line, else its repr."""
    return text if text.isprintable() else repr(text)


def _shown(value: object) -> str:
    text = _text(str(value)) if isinstance(value, Path) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
