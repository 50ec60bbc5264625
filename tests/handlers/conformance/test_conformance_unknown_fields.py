"""Fields that a newer caller sends are kept, and break no call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmer.wire import codec

if TYPE_CHECKING:
    from conformance import Resources

NEW = b"\xfa\x3f\x05newer"
"""Field 1023, a string, which no message has."""


def spiced(resource: Any) -> Any:
    """The resource with an unknown field at the top, in its metadata and in its spec."""
    for message in (resource, resource.metadata, resource.spec):
        message._unknown_fields = NEW
    return resource


def unknown(resource: Any) -> list[bytes]:
    return [message._unknown_fields for message in (resource, resource.metadata, resource.spec)]


async def test_create_and_get_keep_unknown_fields(kind: Resources) -> None:
    made = await kind.create(spiced(await kind.sample()))
    assert unknown(made) == [NEW] * 3
    assert unknown(await kind.get(made.metadata.id)) == [NEW] * 3
    assert codec.encode(made).count(NEW) == 3


async def test_update_takes_the_unknown_fields_that_are_sent_and_drops_the_others(updated: Resources) -> None:
    made = await updated.create(spiced(await updated.sample()))
    assert unknown(await updated.update(made)) == [NEW] * 3
    plain = updated.facts.make(id=made.metadata.id)
    for name in updated.facts.fixed:
        setattr(plain.spec, name, "")
    assert unknown(await updated.update(plain)) == [b""] * 3


async def test_apply_keeps_unknown_fields(reapplied: Resources) -> None:
    made = await reapplied.apply(spiced(reapplied.facts.make()))
    assert unknown(made) == [NEW] * 3
    assert unknown(await reapplied.apply(made)) == [NEW] * 3


async def test_requests_with_unknown_fields_are_answered(kind: Resources) -> None:
    made = await kind.created()
    request = kind.facts.id_request(value=made.metadata.id)
    request._unknown_fields = NEW
    assert await kind.queries.get(request) == made
