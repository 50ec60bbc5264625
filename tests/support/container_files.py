"""Readers of the container files: a Dockerfile's instructions, and the part of YAML that docker-compose.yml has."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple


class Instruction(NamedTuple):
    name: str
    value: str


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, FROM first; what stands before the first FROM is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions(text):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def parse_compose(text: str) -> dict[str, Any]:
    """Mappings by indentation, scalars, and lists and empty mappings in JSON's form. Raises ValueError for all else."""
    root: dict[str, Any] = {}
    open_at: list[tuple[int, dict[str, Any]]] = [(0, root)]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.fullmatch(r"( *)([\w-]+):(?: +(\S.*))?", line)
        if found is None:
            raise ValueError(f"not in the form that this reader knows: {line}")
        indent, key, value = len(found[1]), found[2], found[3]
        while open_at and open_at[-1][0] > indent:
            open_at.pop()
        if not open_at or (open_at[-1][0] != indent) or key in open_at[-1][1]:
            raise ValueError(f"wrong indentation, or a key that is there already: {line}")
        open_at[-1][1][key] = inner = {} if value is None else _scalar(value)
        if value is None:
            open_at.append((indent + 2, inner))
    return root


def _scalar(value: str) -> Any:
    if value[0] in '["{' or value in ("true", "false"):
        return json.loads(value)
    if not re.fullmatch(r"[\w./][\w./: -]*", value) or re.search(r": | #", value):
        raise ValueError(f"a scalar that needs quotes: {value}")
    return value
