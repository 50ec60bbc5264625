"""The keys by which every kind is listed: tags, organization and labels; until now sessions and executions had tags.

What belongs to another resource is listed under the organization that owns it, whatever org it names.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

ROWS = "SELECT sequence, kind, owner, data FROM resources WHERE sequence > ? ORDER BY sequence LIMIT 100"
ADD = (
    "INSERT OR IGNORE INTO resource_keys (kind, field, value, sequence, owner, shared)"
    " VALUES (?, ?, ?, ?, ?, ? NOT GLOB 'identity_account:*')"
)
BELONGING = ("AgentExecution", "ExecutionContext")
ORGANIZATION = "organization:"


def migrate(connection: sqlite3.Connection) -> None:
    """Add the keys of each row, 100 rows at a time. What cannot be read is damaged, and stays so."""
    resource = _resource()
    rows = connection.execute(ROWS, (0,)).fetchall()
    while rows:
        for sequence, kind, owner, data in rows:
            keys = _keys(resource, kind, owner, data)
            connection.executemany(ADD, [(kind, *key, sequence, owner, owner) for key in keys])
        rows = connection.execute(ROWS, (rows[-1][0],)).fetchall()


def _keys(resource: type[Any], kind: str, owner: str, data: bytes) -> Iterator[tuple[str, str]]:
    try:
        metadata = resource.FromString(data).metadata
    except DecodeError:
        return
    org = owner.removeprefix(ORGANIZATION) if owner.startswith(ORGANIZATION) else ""
    org = org if kind in BELONGING else metadata.org
    yield from (("metadata.tags", tag) for tag in metadata.tags)
    if org:
        yield "metadata.org", org
    for label in metadata.labels:
        yield "metadata.labels", label.key
        yield f"metadata.labels.{label.key}", label.value


def _resource() -> type[Any]:
    """A message that reads of any kind's resources what is needed here, whatever becomes of the protos."""
    file = descriptor_pb2.FileDescriptorProto(name="list_keys.proto", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    label = file.message_type.add(name="Label")
    label.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    label.field.add(name="value", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    metadata = file.message_type.add(name="Metadata")
    metadata.field.add(name="org", number=4, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    metadata.field.add(name="labels", number=6, type=field.TYPE_MESSAGE, type_name=".Label", label=field.LABEL_REPEATED)
    metadata.field.add(name="tags", number=8, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    resource = file.message_type.add(name="Resource")
    resource.field.add(
        name="metadata", number=3, type=field.TYPE_MESSAGE, type_name=".Metadata", label=field.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Resource"))
