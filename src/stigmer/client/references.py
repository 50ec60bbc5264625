"""Resources named by themselves, their ids or their slugs, where a request wants an id."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from stigmer.client import naming
from stigmer.errors import InvalidArgument, NotFound
from stigmer.types import ApiResourceReference
from stigmer.wire import descriptors
from stigmer.wire.shapes import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stigmer.client.calls import Calls
    from stigmer.wire.descriptors import KindMeta, Method
    from stigmer.wire.shapes import At


async def resolved(calls: Calls, full_name: str, given: Mapping[str, Any], at: At) -> dict[str, Any]:
    """The values for a message, with each reference `x` as the id in the field `x_id`.

    Args:
        calls: asks for the ids of slugs.
        full_name: the message's type.
        given: values by their fields' names; those that are None are left out.
        at: where the message stands in what is made of it.

    Raises:
        TypeError: both are given.
        InvalidArgument: a reference is none.
        NotFound: a slug names nothing.
    """
    fields = descriptors.descriptor(full_name).fields_by_name
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        field = name if name in fields else f"{name}_id"
        if field != name and field in fields:
            if given.get(field) is not None:
                raise TypeError(f"give {name} or {field}, not both")
            found[field] = await id_of(calls, field, value, at)
        else:
            found[name] = value
    return found


async def id_of(calls: Calls, field: str, value: Any, at: At) -> str:  # noqa: ANN401 - a resource, its id or its slug
    """The id of what a field `x_id` is to name; a slug is asked for. Raises as `resolved`."""
    kinds = naming.kinds_of_field(field)
    if naming.is_none_of(value, kinds):
        wanted = " or ".join(kind.name for kind in kinds)
        raise InvalidArgument.of(
            path_of((at, field, None)), f"must be of kind {wanted}, not {value.__class__.__name__}"
        )
    if isinstance(value, str):
        if any(naming.is_id(kind, value) for kind in kinds):
            return value
    elif id_ := getattr(getattr(value, "metadata", None), "id", ""):
        return str(id_)
    found = naming.slug_of(value, calls.options.org)
    if found is None:
        raise InvalidArgument.of(path_of((at, field, None)), "must be a resource, its id or 'org/slug'")
    for kind in kinds:
        if method := by_reference(kind.number):
            resource = await calls.unary(method, reference(kind, *found))
            return str(resource.metadata.id)
    if isinstance(value, str):
        return value  # what has no slugs is named by ids alone, of whatever form
    raise NotFound(field.removesuffix("_id"), found[1])


def reference(kind: KindMeta, org: str, slug: str) -> ApiResourceReference:
    """A reference as the servers take it."""
    return ApiResourceReference(org=org, slug=slug, kind=cast("Any", kind.number))


@cache
def by_reference(kind_number: int) -> Method | None:
    """The method that answers a kind's resource by its slug; None where the kind has none."""
    for method in descriptors.methods().values():
        if method.name == "getByReference" and method.kind is not None and method.kind.number == kind_number:
            return method
    return None
