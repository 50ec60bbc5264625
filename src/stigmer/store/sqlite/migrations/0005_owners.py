"""Whose each row is, and the namespaces that come of it.

Until now everybody was `local`, so what belongs to a single caller becomes that one's. An execution belongs to its
session's owner; where that one is gone, to the organization that its metadata names. A context belongs to its
execution's owner; where it names none that is there, to callers of all organizations, whatever its metadata name.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from stigmer.store.sqlite.migrations.sums import named, sum_of

OWNER = "ALTER TABLE {table} ADD COLUMN owner TEXT NOT NULL DEFAULT ''"
SHARED = "ALTER TABLE {table} ADD COLUMN shared INTEGER NOT NULL DEFAULT 1"
BY_SLUG = (
    "CREATE INDEX resources_by_owned_slug ON resources (kind, slug, owner, namespace)"
    " WHERE slug IS NOT NULL AND owner <> 'organization:' || namespace"
)
INDEXES = (
    "CREATE INDEX resources_by_owner ON resources (kind, owner)",
    "CREATE INDEX resources_by_shared ON resources (kind, shared)",
    BY_SLUG,
    "CREATE INDEX resource_keys_by_owner ON resource_keys (kind, owner, field, value, sequence)",
    "CREATE INDEX resource_keys_shared ON resource_keys (kind, shared, field, value, sequence)",
)
EXECUTION, CONTEXT = b"AgentExecution", b"ExecutionContext"
PARENTS = {EXECUTION: ("spec.session_id", "Session"), CONTEXT: ("spec.execution_id", "AgentExecution")}
PASSES = ("kind NOT IN ('AgentExecution', 'ExecutionContext')", "kind = 'AgentExecution'", "kind = 'ExecutionContext'")
"""Each after those that its rows' owners come of."""
SEQUENCES = "SELECT sequence FROM resources WHERE {kinds} AND sequence > ? ORDER BY sequence LIMIT 1000"
ROW = (
    "SELECT CAST(kind AS BLOB), CAST(id AS BLOB), CAST(namespace AS BLOB), CAST(slug AS BLOB),"
    " CAST(created_by AS BLOB), revision, data, checksum FROM resources WHERE sequence = ?"
)
OWNER_OF_PARENT = (
    "SELECT r.owner FROM resource_keys AS k JOIN resources AS r ON r.kind = ? AND r.id = k.value"
    " WHERE k.sequence = ? AND k.field = ? AND r.owner <> ''"
)
FILL = (
    "UPDATE resources SET owner = ?, shared = ? NOT GLOB 'identity_account:*', namespace = ?, checksum = ?"
    " WHERE sequence = ?"
)

FILL_KEYS = "UPDATE resource_keys SET owner = ?, shared = ? NOT GLOB 'identity_account:*' WHERE sequence = ?"

PLATFORM, IDENTITY = 1, 3
"""Numbers of scopes."""


def migrate(connection: sqlite3.Connection) -> None:
    """Add the columns and fill them, a row at a time; 100,000 of 2 KB take 5 s and 16 MiB. Damaged rows stay so."""
    for table in ("resources", "resource_keys"):
        connection.execute(OWNER.format(table=table))
        connection.execute(SHARED.format(table=table))
    resource = _resource()
    for kinds in PASSES:
        for sequence in _sequences(connection, SEQUENCES.format(kinds=kinds)):
            _fill(connection, sequence, resource)
    for index in INDEXES:
        connection.execute(index)


def _sequences(connection: sqlite3.Connection, statement: str) -> Iterator[int]:
    found = connection.execute(statement, (0,)).fetchall()
    while found:
        yield from (sequence for (sequence,) in found)
        found = connection.execute(statement, found[-1]).fetchall()


def _fill(connection: sqlite3.Connection, sequence: int, resource: type[Any]) -> None:
    *texts, revision, data, checksum = connection.execute(ROW, (sequence,)).fetchone()
    try:
        kind, id_, space, slug, created_by = (None if text is None else text.decode() for text in texts)
        if sum_of(data, kind, id_, space, named(slug), created_by, revision) != checksum:
            return
    except (AttributeError, TypeError, UnicodeDecodeError):
        return
    owner, namespace = _owned(connection, sequence, texts[0], space or "", _metadata(resource, data))
    summed = sum_of(data, kind, id_, namespace, named(slug), created_by, owner, revision)
    connection.execute(FILL, (owner, owner, namespace, summed, sequence))
    connection.execute(FILL_KEYS, (owner, owner, sequence))


def _metadata(resource: type[Any], data: bytes) -> Any:  # noqa: ANN401 - of `_resource`
    try:
        return resource.FromString(data).metadata
    except DecodeError:
        return resource().metadata


def _owned(
    connection: sqlite3.Connection,
    sequence: int,
    kind: bytes,
    space: str,
    metadata: Any,  # noqa: ANN401 - as above
) -> tuple[str, str]:
    """The owner of a row, and its namespace."""
    field, parent = PARENTS.get(kind, ("", ""))
    found = connection.execute(OWNER_OF_PARENT, (parent, sequence, field)).fetchone() if parent else None
    if found is not None:
        owner = str(found[0])
    elif parent:
        owner = f"organization:{metadata.org if kind == EXECUTION else ''}"
    else:
        owners = {PLATFORM: "platform", IDENTITY: "identity_account:local"}
        owner = owners.get(metadata.owner_scope, f"organization:{space}")
    scope, _, name = owner.partition(":")
    org = space if not parent else name if scope == "organization" else ""
    return owner, f"\x1f{name}\x1f{org}" if scope == "identity_account" else org


def _resource() -> type[Any]:
    """A message that reads of any kind's resources what is needed here, whatever becomes of the protos."""
    file = descriptor_pb2.FileDescriptorProto(name="owners.proto", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    metadata = file.message_type.add(name="Metadata")
    metadata.field.add(name="org", number=4, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    metadata.field.add(name="owner_scope", number=5, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    resource = file.message_type.add(name="Resource")
    resource.field.add(
        name="metadata", number=3, type=field.TYPE_MESSAGE, type_name=".Metadata", label=field.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Resource"))
