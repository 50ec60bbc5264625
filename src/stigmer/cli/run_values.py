"""The values that an execution runs with, of flags; secret ones come of a prompt, a pipe or a file, never of a flag."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stigmer.cli import INTERRUPTED, interrupts_raise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stigmer.client.dicts import ExecutionValueDict


def runtime_env(env: Iterable[str], secrets: Sequence[str], files: Iterable[str]) -> dict[str, ExecutionValueDict]:
    """The values by their keys.

    Args:
        env: KEY=VALUE each.
        secrets: keys of values that are asked for on a terminal; else standard input has a line for each, or is the
            value of the only one.
        files: KEY=FILE each; the last line's end is none of the value.

    Raises:
        typer.BadParameter: one of them is written wrongly, or given twice, or has no value.
        typer.Exit: interrupted in the prompt.
    """
    found: dict[str, ExecutionValueDict] = {}
    for text in env:
        key, value = _pair(text, "--env", "KEY=VALUE")
        _add(found, key, value, is_secret=False)
    for text in files:
        key, name = _pair(text, "--secret-file", "KEY=FILE")
        _add(found, key, _read(name), is_secret=True)
    for key in secrets:
        if "=" in key:  # not repeated: others on this machine could see it, and it may be one
            raise typer.BadParameter(
                "give the key alone; the value is asked for, or read from a pipe", param_hint="--secret"
            )
    for key, value in zip(secrets, _asked(secrets), strict=True):
        _add(found, key, value, is_secret=True)
    return found


def _add(found: dict[str, ExecutionValueDict], key: str, value: str, *, is_secret: bool) -> None:
    if key in found:
        raise typer.BadParameter(f"{key} is given twice")
    found[key] = {"value": value, "is_secret": is_secret}


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r}: write {form}", param_hint=flag)
    return key, value


def _read(name: str) -> str:
    try:
        return _without_end(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{error}; give a text file that is there", param_hint="--secret-file") from None


def _asked(keys: Sequence[str]) -> list[str]:
    """The values of these keys, of the terminal or of standard input."""
    if not keys:
        return []
    interrupts_raise()  # so that the terminal shows again what is typed
    try:
        if sys.stdin.isatty():
            return [getpass(f"{key}: ") for key in keys]
        text = sys.stdin.read()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    values = [_without_end(text)] if len(keys) == 1 else text.splitlines()
    if len(values) != len(keys) or not all(values):
        raise typer.BadParameter(
            f"standard input is to have a line for each of {', '.join(keys)}", param_hint="--secret"
        )
    return values


def _without_end(text: str) -> str:
    """The text without the end of its last line."""
    return text.removesuffix("\n").removesuffix("\r")
