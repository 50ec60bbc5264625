"""Manifests: files of YAML or JSON, each with documents that are resources, read and checked before any is sent."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf import json_format
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stigmer.cli.kinds import Named, all_kinds
from stigmer.cli.manifest_faults import Faults, hint
from stigmer.cli.manifest_values import Reader, is_null
from stigmer.client.resources import about
from stigmer.errors import InvalidArgument, StartupError, StigmerError
from stigmer.pipeline import rules
from stigmer.pipeline.ids import slug_of
from stigmer.secrets.fields import MARK
from stigmer.wire import codec, descriptors
from stigmer.wire.message_types import full_name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUFFIXES = (".yaml", ".yml", ".json")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Manifest:
    """A resource as its owner wrote it.

    Attributes:
        named: its kind.
        wire: the message, without what the fields of `references` name.
        references: what each field `x_id` names, by `x`: an id, or a slug.
        file: where it was read.
        reader: where each field stands.
    """

    named: Named
    wire: Any
    references: dict[str, str]
    file: str
    reader: Reader

    @property
    def slug(self) -> str:
        """Given, or as the server makes it of the name."""
        return str(self.wire.metadata.slug or slug_of(self.wire.metadata.name))

    @property
    def name(self) -> str:
        """As a line about it begins."""
        return f"{self.named.singular}/{self.slug}"

    @property
    def brings_secrets(self) -> bool:
        """Whether it has a secret value, not the mark in place of it."""
        data = getattr(self.wire.spec, "data", {})
        return any(one.is_secret and one.value != MARK for one in data.values())

    def message(self) -> Any:  # noqa: ANN401 - of its kind's class
        """The resource, for a client; without what `references` names."""
        return codec.from_wire(self.wire)

    def told(self, error: StigmerError) -> str:
        """What the server refuses it for, in lines, each with its place."""
        faults = Faults(self.file)
        if isinstance(error, InvalidArgument):
            self.note(faults, error)
        else:
            faults.add(self.reader.marks[""], "", f"{self.name}: {error.message}")
        return "\n".join(map(str, faults.found))

    def note(self, faults: Faults, error: InvalidArgument) -> None:
        """Note the violations, each where its field stands, or what it should stand in."""
        for one in error.violations:
            at = one.field
            while at and at not in self.reader.marks:
                at = at.rpartition(".")[0]
            faults.add(self.reader.marks.get(at or ""), one.field, one.description)


def read(names: Iterable[str]) -> list[Manifest]:
    """The manifests of files, of directories and, for `-`, of standard input, in an order in which each can be applied.

    Raises:
        StartupError: a file cannot be read, or a manifest has a fault; a line for every fault of all of them.
    """
    manifests: list[Manifest] = []
    lines: list[str] = []
    for name in (one for given in names for one in _files(given)):
        faults = Faults(name)
        manifests += [one for node in _documents(faults) if (one := _manifest(node, faults)) is not None]
        lines += map(str, sorted(faults.found))
    if lines:
        raise StartupError("\n".join(lines))
    if not manifests:
        raise StartupError("no manifest there: a file is to have documents of YAML or JSON")
    return ordered(manifests)


def ordered(manifests: list[Manifest]) -> list[Manifest]:
    """Those that others refer to first, else as they stand; a circle is left to the server to refuse."""
    by_slug = {(one.named.kind, one.slug): one for one in manifests}
    done: dict[int, Manifest] = {}

    def visit(one: Manifest, above: tuple[int, ...]) -> None:
        if id(one) in done or id(one) in above:
            return
        for key in referred(one):
            if key in by_slug:
                visit(by_slug[key], (*above, id(one)))
        done[id(one)] = one

    for one in manifests:
        visit(one, ())
    return list(done.values())


def referred(one: Manifest) -> Iterator[tuple[str, str]]:
    """Kind and slug of what a manifest refers to."""
    names = {named_kind.meta.enum_name: kind.kind for kind in all_kinds() for named_kind in (about(kind.kind),)}
    for field, text in one.references.items():
        if (kind := names.get(field)) is not None:
            yield kind, text.rpartition("/")[2]
    for field, values in one.wire.spec.ListFields():
        if field.name.endswith("_refs") and (kind := names.get(field.name.removesuffix("_refs"))) is not None:
            yield from ((kind, reference.slug) for reference in values)


def _files(name: str) -> list[str]:
    """The file itself, or all manifests below a directory. Raises StartupError."""
    path = Path(name)
    if name == "-" or path.is_file():
        return [name]
    if not path.is_dir():
        raise StartupError(f"{name}: there is no such file or directory")
    return [str(one) for one in sorted(path.rglob("*")) if one.suffix in _SUFFIXES and one.is_file()]


def _documents(faults: Faults) -> Iterator[Node]:
    """The documents of a file, those of a list on its own; none from a fault of the syntax on."""
    try:
        text = sys.stdin.read() if faults.file == "-" else Path(faults.file).read_text(encoding="utf-8")
        for node in yaml.compose_all(text.replace("\t", " ") if faults.file.endswith(".json") else text, _LOADER):
            if isinstance(node, SequenceNode):
                yield from node.value
            elif not is_null(node):
                yield node
    except yaml.MarkedYAMLError as error:
        faults.add(error.problem_mark, "", error.problem or "is no YAML")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        faults.add(None, "", f"cannot be read: {' '.join(str(error).split())}")


def _manifest(node: Node, faults: Faults) -> Manifest | None:
    """The manifest of a document; None where it has a fault, which is noted."""
    before, reader = len(faults.found), Reader(faults)
    named = _kind(node, faults)
    if named is None:
        return None
    reader.marks[""] = node.start_mark
    try:
        wire = _wire(node, named, reader)
    except yaml.MarkedYAMLError as error:
        faults.add(error.problem_mark, "", error.problem or "is no YAML")
        return None
    except (json_format.ParseError, ValueError, RecursionError) as error:
        faults.add(node.start_mark, "", f"cannot be read: {error}")
        return None
    is_faulty = len(faults.found) > before
    broken = [one for one in rules.violations(wire) if one is not None]
    found = Manifest(named, wire, reader.references, faults.file, reader)
    # what is missing may be what was misspelled
    found.note(faults, InvalidArgument(*(one for one in broken if not is_faulty or one.field in reader.scalars)))
    for field in reader.references:
        wire.spec.ClearField(f"{field}_id")
    return found if not is_faulty and not broken else None


def _wire(node: Node, named: Named, reader: Reader) -> Any:  # noqa: ANN401 - of the kind's type
    """The message of a document, with what goes without saying."""
    full_name = full_name_of(about(named.kind).message)
    values = reader.message(node, descriptors.descriptor(full_name), "")
    values.setdefault("api_version", named.api_version)
    values.setdefault("metadata", {}).setdefault("owner_scope", named.scope)
    return json_format.ParseDict(values, descriptors.message_class(full_name)())


def _kind(node: Node, faults: Faults) -> Named | None:
    """The kind that a document says it is of; None, and a fault, where it says none that can be applied."""
    kinds = {one.kind: one for one in all_kinds()}
    given: list[tuple[Node, Node]] = node.value if isinstance(node, MappingNode) else []
    said = next((value for key, value in given if key.value == "kind" and isinstance(value, ScalarNode)), None)
    if not isinstance(node, MappingNode):
        faults.add(node.start_mark, "", "must be a mapping of fields, with kind, metadata and spec")
    elif said is None:
        faults.add(node.start_mark, "kind", f"is missing: one of {', '.join(kinds)}")
    elif said.value not in kinds:
        faults.add(said.start_mark, "kind", f"no kind {said.value!r}{hint(said.value, kinds)}")
    elif not kinds[said.value].is_applied:
        faults.add(said.start_mark, "kind", f"{said.value} cannot be applied: one is made with each run of an agent")
    else:
        return kinds[said.value]
    return None
