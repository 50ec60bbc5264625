"""What names a resource: its id, its slug within an organization, or itself; and which kinds a field names."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from stigmer.wire import descriptors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stigmer.wire.descriptors import KindMeta

_ULID = "[0-7][0-9a-hjkmnp-tv-z]{25}"


def is_id(kind: KindMeta, text: str) -> bool:
    """Whether a text has the form of the kind's ids; every other one is a slug."""
    return _ids(kind.id_prefix).fullmatch(text) is not None


def slug_of(value: Any, org: str = "") -> tuple[str, str] | None:  # noqa: ANN401 - a resource, or its slug
    """Organization and slug of `org/slug`, of `slug` within the given organization, or of a resource; else None."""
    if isinstance(value, str):
        before, slash, slug = value.rpartition("/")
        return (before, slug) if slash else (org, value)
    metadata = getattr(value, "metadata", None)
    slug = getattr(metadata, "slug", "")
    return (str(getattr(metadata, "org", "")), slug) if slug else None


def is_none_of(value: Any, kinds: Sequence[KindMeta]) -> bool:  # noqa: ANN401 - anything
    """Whether a value is a resource of another kind than these; where there are none, each fits."""
    name = value.__class__.__name__  # of a lazy object too
    return bool(kinds) and hasattr(value, "metadata") and name not in {kind.name for kind in kinds}


@cache
def kinds_of_field(name: str) -> tuple[KindMeta, ...]:
    """The kinds whose ids a field `x_id` or `x_refs` holds, by its name; `execution_id` those of any execution."""
    stem = re.sub(r"_(id|refs?)$", "", name)
    served = {method.kind.name: method.kind for method in descriptors.methods().values() if method.kind is not None}
    exact = tuple(kind for kind in served.values() if kind.enum_name == stem)
    return exact or tuple(kind for kind in served.values() if kind.enum_name.endswith(f"_{stem}"))


@cache
def number_of_field(name: str) -> int:
    """The number of the kind that a field `x_refs` refers to; 0 where there is none of that name."""
    return descriptors.kind_numbers().get(re.sub(r"_refs?$", "", name), 0)


@cache
def _ids(prefix: str) -> re.Pattern[str]:
    return re.compile(f"{prefix}-{_ULID}")
