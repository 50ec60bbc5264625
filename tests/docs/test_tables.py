"""The tables of the documentation are what the code says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2
from markdown_text import document, quoted, table

from stigmer import errors
from stigmer.app import assembly
from stigmer.handlers import HANDLERS
from stigmer.pipeline import rules
from stigmer.settings import Settings
from stigmer.store.memory import MemoryStore
from stigmer.telemetry.metrics import Metrics
from stigmer.wire import bounds, descriptors, scan
from stigmer.wire.message_types import full_name_of
from stigmer.wire.slices import at_once

if TYPE_CHECKING:
    import betterproto2

CONFIGURATION = document("docs/configuration.md")


def test_the_table_of_settings_is_the_settings() -> None:
    assert [row_of(name) for name in Settings.model_fields] == table(CONFIGURATION, "Flag")


def row_of(name: str) -> dict[str, str]:
    field = Settings.model_fields[name]
    flag = f"`--{name.replace('_', '-')}`"
    default: Any = "~/.stigmer" if name == "data_dir" else field.default
    if isinstance(default, bool):
        flag, default = f"{flag}, `--no-{flag[3:]}", "on" if default else "off"
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, float):
        default = f"{default:g}"
    return {
        "Flag": flag,
        "Variable": f"`STIGMER_{name.upper()}`",
        "Default": f"`{default}`" if default is not None else "",
        "Meaning": field.description or "",
    }


def test_the_table_of_kinds_names_every_kind_with_its_rpcs() -> None:
    rows = {row["Kind"]: row for row in table(document("docs/kinds.md"), "Kind")}
    assert rows.keys() == {handler.kind.name for handler in HANDLERS}
    for handler in HANDLERS:
        kind = handler.kind
        package = f"ai.stigmer.agentic.{kind.name.lower()}.v1"
        for column, role in (("Commands", "Command"), ("Queries", "Query")):
            service = f"{package}.{kind.name}{role}Controller"
            served = {method.name for method in descriptors.methods().values() if method.service == service}
            assert set(quoted(rows[kind.name][column])) == served
        assert quoted(rows[kind.name]["Id"]) == [kind.meta.id_prefix]


def test_the_table_of_kinds_names_the_owner_scopes_that_each_takes() -> None:
    rows = {row["Kind"]: row["Owner scopes"] for row in table(document("docs/kinds.md"), "Kind")}
    said = {"any": ["any"], "unset only": ["unset"]}
    for handler in HANDLERS:
        cell = rows[handler.kind.name]
        assert said.get(cell, quoted(cell)) == scopes_of(handler.kind.message)


def scopes_of(kind: type[betterproto2.Message]) -> list[str]:
    """The owner scopes that the kind's rules let pass."""
    wire: Any = descriptors.message_class(full_name_of(kind))()
    scopes = wire.metadata.DESCRIPTOR.fields_by_name["owner_scope"].enum_type.values
    allowed: list[str] = []
    for scope in scopes:
        wire.metadata.owner_scope = scope.number
        if all(broken.field != "metadata.owner_scope" for broken in at_once(rules.violations(wire))):
            allowed.append(scope.name if scope.number else "unset")
    return ["any"] if len(allowed) == len(scopes) else allowed


def test_the_table_of_errors_names_every_code_that_callers_see() -> None:
    rows = {row["Code"]: row["Detail (google.rpc)"] for row in table(document("docs/errors.md"), "Code")}
    seen = {kind.code.name for kind in errors.StigmerError.__subclasses__()} - {"CANCELLED"}
    assert rows.keys() == seen
    details = {re.split(r"[:,]", detail)[0] for detail in rows.values()} - {""}
    assert details <= set(error_details_pb2.DESCRIPTOR.message_types_by_name)


def test_the_table_of_limits_has_the_numbers_that_are_checked() -> None:
    rows = table(CONFIGURATION, "What")
    told = [[int(number) for number in re.findall(r"\b[0-9]+\b", row["At most"])] for row in rows]
    checked = [
        [bounds.NAME.chars, bounds.AGENT_NAME.chars],
        [bounds.TAGS.entries, bounds.TAGS.chars],
        [bounds.LABELS.entries, bounds.LABELS.key_chars, bounds.LABELS.chars],
        [bounds.ANNOTATIONS.entries, bounds.ANNOTATIONS.key_chars, bounds.ANNOTATIONS.chars],
        [bounds.DEFAULT.entries, bounds.DEFAULT.key_chars],
        [],
        [],
        [bounds.MAX_PARTS],
        [scan.MAX_FIELDS, scan.MAX_UNKNOWN_FIELDS, scan.MAX_UNKNOWN_BYTES],
    ]
    assert told[: len(checked)] == checked
    assert f"of up to {rules.MAX_PARTS} parts" in CONFIGURATION


def test_the_limits_that_can_be_set_are_settings() -> None:
    flags = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    named = [flag for row in table(CONFIGURATION, "What") for flag in re.findall(r"`(--[a-z-]+)`", row["At most"])]
    assert named
    assert [flag for flag in named if flag not in flags] == []


async def test_the_table_of_metrics_is_the_registry() -> None:
    async with MemoryStore() as store:
        families = list(assembly.assemble(store, metrics=Metrics()).metrics.collect())
    rows = {row["Metric"]: row for row in table(document("docs/metrics.md"), "Metric")}
    assert rows.keys() == {f"`{family.name}`" for family in families}
    for family in families:
        row = rows[f"`{family.name}`"]
        assert (row["Type"], row["Meaning"]) == (family.type, family.documentation)
        seen = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert seen <= set(quoted(row["Labels"]))
