"""Resources as text: tables, names, JSON and YAML, to a standard output that may be closed at any time."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import typer
import yaml
from google.protobuf import json_format

from stigmer.cli.kinds import kind_by_name, name_of
from stigmer.client.resources import about
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def say(text: str) -> None:
    """Print a text. Where nobody reads any more, which is no error, the command ends.

    Raises:
        typer.Exit: see above.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        raise typer.Exit from None


def as_table(resources: Sequence[Any], *, wide: bool = False) -> str:
    """A line for each resource, below a heading; empty where there is none."""
    if not resources:
        return ""
    columns = _columns(resources, wide=wide)
    rows = [tuple(columns), *(tuple(column(one) for column in columns.values()) for one in resources)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def as_names(resources: Iterable[Any]) -> str:
    """`agent/reviewer` on a line for each."""
    return "".join(f"{kind_by_name(one.kind).singular}/{name_of(one)}\n" for one in resources)


def as_json(resources: Sequence[Any], *, single: bool) -> str:
    """One document: a resource where a single one was asked for, else a list."""
    shown = [as_dict(one) for one in resources]
    return json.dumps(shown[0] if single and shown else shown, indent=2, ensure_ascii=False) + "\n"


def as_yaml(resources: Iterable[Any], *, full: bool) -> str:
    """A document for each; what the server owns is in it only where it is to be full."""
    shown = (as_dict(one) if full else manifest(one) for one in resources)
    return "---\n".join(yaml_text(one) for one in shown)


def yaml_text(value: object) -> str:
    """YAML in blocks, texts of many lines as such, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def as_dict(resource: Any) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    """A resource as JSON has it: fields in camelCase, enums by name."""
    return json_format.MessageToDict(codec.wire_of(resource))


def manifest(resource: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """What of a resource its owner says: that can be applied again, also elsewhere."""
    shown = as_dict(resource)
    shown.pop("status", None)
    shown["metadata"].pop("version", None)
    if about(resource.kind).has_slugs:
        shown["metadata"].pop("id", None)
    return shown


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines in literal style."""


def _text(_dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _columns(resources: Sequence[Any], *, wide: bool) -> Mapping[str, Callable[[Any], str]]:
    columns: dict[str, Callable[[Any], str]] = {"NAME": name_of, "ORG": lambda one: one.metadata.org or "-"}
    if any(hasattr(one.status, "phase") for one in resources):
        columns["PHASE"] = lambda one: one.status.phase.name.removeprefix("EXECUTION_") if one.status else "-"
    columns["AGE"] = _age
    if wide:
        columns["ID"] = lambda one: one.metadata.id
        columns["TITLE"] = lambda one: " ".join(one.metadata.name.split())
        columns["TAGS"] = lambda one: ",".join(one.metadata.tags) or "-"
    return columns


def _age(resource: Any) -> str:  # noqa: ANN401 - as above
    """How long ago it was made, in its largest unit."""
    audit = getattr(getattr(resource.status, "audit", None), "spec_audit", None)
    if audit is None or audit.created_at is None:
        return "-"
    seconds = max(0, int((dt.datetime.now(dt.UTC) - audit.created_at).total_seconds()))
    return next((f"{seconds // size}{unit}" for size, unit in _UNITS if seconds >= size), "0s")
