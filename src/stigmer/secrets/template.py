"""A resource's bytes with room for its secret values: they need only be put there, and nothing is parsed or encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stigmer.secrets import fields
from stigmer.wire import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from stigmer.secrets.fields import Place

MOST_VALUES, MOST_BYTES = 64, 16 * 1024
"""What a template is made for: its making encodes the resource once for each value."""


class Template(NamedTuple):
    """A resource with room.

    Attributes:
        data: the resource, with zeros where the values stand.
        rooms: where each of them begins and ends.
    """

    data: bytes
    rooms: tuple[tuple[Place, int, int], ...]

    def filled(self, values: Mapping[Place, bytes]) -> bytes:
        """The resource with values, each as long as its room."""
        data = bytearray(self.data)
        for place, start, end in self.rooms:
            data[start:end] = values[place]
        return bytes(data)


def made(wire: Message, values: Mapping[Place, bytes], whole: bytes) -> Template | None:
    """The template of a resource; None where it is too large for one.

    Args:
        wire: the resource with none of its secret values; it is changed.
        values: them, of which it keeps how long they are.
        whole: the resource with the values, which the template must give as well.
    """
    if len(values) > MOST_VALUES or len(whole) > MOST_BYTES:
        return None
    entries = [entry for entry in fields.entries(wire) if entry.place in values]
    for entry in entries:
        entry.write(bytes(len(values[entry.place])))
    data, rooms = codec.serialized(wire), list[tuple["Place", int, int]]()
    for entry in entries:
        size = len(values[entry.place])
        entry.write(b"\x01" * size)
        start = _first_difference(data, codec.serialized(wire))
        entry.write(bytes(size))
        rooms.append((entry.place, start, start + size))
    template = Template(data, tuple(rooms))
    return template if template.filled(values) == whole else None


def _first_difference(one: bytes, other: bytes) -> int:
    """Where two rows of bytes begin to differ."""
    same, different = 0, len(one)
    while same < different:
        middle = (same + different + 1) // 2
        if one[:middle] == other[:middle]:
            same = middle
        else:
            different = middle - 1
    return same
