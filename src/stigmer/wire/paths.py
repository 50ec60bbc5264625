"""Where a field stands in a message, cheap to note on the way through one, and its path in words."""

from __future__ import annotations

import json
from typing import TypeAlias

At: TypeAlias = "tuple[At, str, object] | None"
"""Where a field stands: what it is in, its name, the index or key where it is an entry; None is the request itself.

Cheap to make on the way through a message; `path_of` puts it in words.
"""


def path_of(at: At) -> str:
    """The path of a field from the request's root: `spec.sub_agents[0].name`, `metadata.labels["key"]`."""
    pieces: list[str] = []
    while at is not None:
        at, name, entry = at
        pieces.append(name if entry is None else f"{name}[{json.dumps(entry, ensure_ascii=False)}]")
    return ".".join(reversed(pieces))
