"""The server's settings on the command line: loaded, and a flag for each field, none of them written out."""

from __future__ import annotations

import warnings
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from stigmer.settings import SECTIONS, Settings
from stigmer.settings.sources import is_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

Command = TypeVar("Command", bound="Callable[..., None]")

_METAVARS = {
    "listen": "ADDRESS",
    "metrics": "HOST:PORT",
    "data_dir": "DIR",
    "jwt_issuer": "URL",
    "jwt_audience": "TEXT",
    "jwt_keys": "URL|FILE",
    "jwt_algorithms": "NAME",
    "jwt_name_claim": "CLAIM",
    "jwt_name_prefix": "TEXT",
    "jwt_role_claim": "CLAIM",
    "jwt_organizations_claim": "CLAIM",
    "jwt_default_role": "ROLE",
    "max_writes_per_principal_s": "N",  # of writes, not of seconds
}
_UNITS = {"bytes": "BYTES", "s": "SECONDS"}
_SHOWN_DEFAULTS = {"data_dir": "~/.stigmer"}


def loaded(**flags: object) -> Settings:
    """The server's settings, for a command that is none; what they warn of goes to stderr. Raises StartupError."""
    with warnings.catch_warnings(record=True, action="always") as doubts:
        settings = Settings.load(**flags)
    for doubt in doubts:
        typer.echo(f"stigmer: {doubt.message}", err=True)
    return settings


def of_settings(command: Command) -> Command:
    """Give a command that takes keywords the signature that typer makes its flags of; a flag not given is None."""
    flags: list[Parameter] = []
    section = ""
    for name, field in Settings.model_fields.items():
        section = SECTIONS.get(name, section)
        flags.append(_parameter(name, field, section))
    command.__signature__ = Signature(flags)  # type: ignore[attr-defined]  # inspect looks for it on every function
    return command


def _parameter(name: str, field: FieldInfo, section: str) -> Parameter:
    kind = _kind(field)
    spelled = f"--{name.replace('_', '-')}"
    option: Any = typer.Option(
        f"{spelled}/--no-{spelled[2:]}" if kind is bool else spelled,
        help=_help(name, field),
        metavar=_metavar(name, kind),
        show_default=False,
        rich_help_panel=section or None,
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def _kind(field: FieldInfo) -> Any:  # noqa: ANN401  # a type, or a Literal, which is none
    """What typer reads; a path, or what has no default, is left as text for the settings to check."""
    if isinstance(field.default, tuple):
        return list[str]
    return str if is_path(field.annotation) or field.default is None else field.annotation


def _metavar(name: str, kind: Any) -> str | None:  # noqa: ANN401  # as above
    if kind in (str, list[str]) or name in _METAVARS:
        return _METAVARS.get(name, "FILE")
    return _UNITS.get(name.rpartition("_")[2], "N") if kind in (int, float) else None


def _help(name: str, field: FieldInfo) -> str:
    """The setting's own description, and its default in brackets."""
    default: Any = _SHOWN_DEFAULTS.get(name, field.default)
    if isinstance(default, bool):
        default = "on" if default else "off"
    if isinstance(default, tuple):
        default = ",".join(map(str, cast("tuple[object, ...]", default)))
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"{field.description} [{shown}]" if shown else f"{field.description}"
