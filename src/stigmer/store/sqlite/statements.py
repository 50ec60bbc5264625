"""Every SQL statement of the SQLite backend, named."""

from __future__ import annotations

COLUMNS = "kind, id, namespace, slug, data, created_by, owner, sealed, revision, sequence, checksum"

SECRETS, ROOT = "secrets", "root"
"""The record of which the store's secrets are derived."""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 8000",  # pages: for the case that MOVE falls behind, see `readers`
)
CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
MOVE = "PRAGMA wal_checkpoint(PASSIVE)"
COMPACT = ("PRAGMA temp_store = FILE", "VACUUM", "PRAGMA temp_store = MEMORY")
BUSY_TIMEOUT = "PRAGMA busy_timeout"
NO_WAIT = f"{BUSY_TIMEOUT} = 0"
READ_ONLY = "PRAGMA query_only = ON"

BEGIN_WRITE = "BEGIN IMMEDIATE"
BEGIN_READ = "BEGIN"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
SAVEPOINT = "SAVEPOINT item"
RELEASE = "RELEASE item"
ROLLBACK_TO = "ROLLBACK TO item"

GET = f"SELECT {COLUMNS} FROM resources WHERE kind = ? AND id = ?"  # noqa: S608 - of constants
BY_SLUG = f"SELECT {COLUMNS} FROM resources WHERE kind = ? AND slug = ? AND namespace = ?"  # noqa: S608 - of constants
BY_SLUG_ANYWHERE = f"SELECT {COLUMNS} FROM resources WHERE kind = ? AND slug = ? ORDER BY namespace LIMIT ?"  # noqa: S608 - of constants
# An organization's rows stand in its own namespace; those of a single caller in one that begins with PERSONAL.
SLUGS_OF_NAMESPACE = (
    f"SELECT {COLUMNS} FROM resources"  # noqa: S608 - of constants
    " WHERE kind = ? AND slug = ? AND namespace = ? AND owner = ? AND owner = 'organization:' || namespace LIMIT ?"
)
SLUGS_OF_OWNER = (
    f"SELECT {COLUMNS} FROM resources INDEXED BY resources_by_owned_slug"  # noqa: S608 - of constants
    " WHERE kind = ? AND slug = ? AND owner = ? AND owner <> 'organization:' || namespace ORDER BY namespace LIMIT ?"
)
SLUGS_SHARED = (
    f"SELECT {COLUMNS} FROM resources"  # noqa: S608 - of constants
    " WHERE kind = ? AND slug = ? AND namespace {range} AND shared = 1"
    " ORDER BY namespace LIMIT ?"
)
BY_SEQUENCE = f"SELECT {COLUMNS} FROM resources WHERE sequence = ?"  # noqa: S608 - of constants
NEWEST_ROWS = f"SELECT {COLUMNS} FROM resources ORDER BY sequence DESC"  # noqa: S608 - of constants
SEQUENCES_OF_KIND = (
    "SELECT sequence FROM resources INDEXED BY resources_by_kind"
    " WHERE kind = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?"
)
SEQUENCE_OF_ID = "SELECT sequence FROM resources WHERE kind = ? AND id = ?"
SEQUENCE_OF_SLUG = "SELECT sequence FROM resources WHERE kind = ? AND slug = ? AND namespace = ?"
IS_OF = "SELECT 1 FROM {table} WHERE k.kind = ? AND {condition} AND k.sequence = ?"
ID = "SELECT id FROM resources WHERE sequence = ?"
REVISION = "SELECT value FROM counters WHERE name = ''"
# The root of each table and index, too: where one cannot be read, the store is of no use.
_LOOKED_AT = {
    "resources_by_id": "resources {} WHERE kind = '' AND id = ''",
    "resources_by_slug": "resources {} WHERE kind = '' AND slug = '' AND namespace = ''",
    "resources_by_owned_slug": "resources {} WHERE kind = '' AND slug = '' AND owner <> 'organization:' || namespace",
    **dict.fromkeys(("resources_by_kind", "resources_by_owner", "resources_by_shared"), "resources {} WHERE kind = ''"),
    **dict.fromkeys(("resource_keys_by_owner", "resource_keys_shared"), "resource_keys {} WHERE kind = ''"),
    "resource_keys_by_sequence": "resource_keys {} WHERE sequence = 0",
    "uses_by_time": "uses {} WHERE used = 0",
}
PROBE = (
    "SELECT (SELECT value FROM counters WHERE name = ''), (SELECT max(sequence) FROM resources),"  # noqa: S608 - of constants
    " EXISTS (SELECT 1 FROM resource_keys WHERE kind = '' AND field = '' AND value = ''),"
    " (SELECT max(sequence) FROM uses),"
    " (SELECT max(rowid) FROM records), EXISTS (SELECT 1 FROM records WHERE name = '' AND key = ''),"
    " (SELECT max(rowid) FROM log_entries), EXISTS (SELECT 1 FROM log_entries WHERE log = ''), "
    + ", ".join(f"EXISTS (SELECT 1 FROM {text.format(f'INDEXED BY {name}')})" for name, text in _LOOKED_AT.items())  # noqa: S608 - of constants
)

ROOT_KEY = f"SELECT value FROM records WHERE name = '{SECRETS}' AND key = '{ROOT}'"  # noqa: S608 - of constants

HEAD = "SELECT sequence, revision, namespace, slug, created_by, owner, sealed FROM resources WHERE kind = ? AND id = ?"
INSERT = (
    "INSERT INTO resources (kind, id, namespace, slug, created_by, owner, sealed, revision, data, checksum, shared)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? NOT GLOB 'identity_account:*')"
)
UPDATE = "UPDATE resources SET data = ?, revision = ?, sealed = ?, checksum = ? WHERE sequence = ?"
DELETE = "DELETE FROM resources WHERE sequence = ?"

ROW_CHECKSUM = (
    "row_checksum(CAST(kind AS BLOB), CAST(id AS BLOB), CAST(namespace AS BLOB), CAST(slug AS BLOB),"
    " CAST(created_by AS BLOB), CAST(owner AS BLOB), sealed, revision, data)"
)
DAMAGED = f"SELECT CAST(kind AS BLOB), CAST(id AS BLOB) FROM resources WHERE checksum IS NOT {ROW_CHECKSUM} LIMIT ?"  # noqa: S608 - of constants

SUMMED = (
    "SELECT coalesce(sum(NOT fits), 0), coalesce(max(revision * fits), 0) FROM"  # noqa: S608 - of constants
    f" (SELECT revision, checksum IS {ROW_CHECKSUM} AS fits FROM resources LIMIT -1)"
)

RECORD_COLUMNS = "name, key, value, revision, checksum"
ALL_RECORDS = f"SELECT {RECORD_COLUMNS} FROM records"  # noqa: S608 - of constants
RECORD = f"SELECT {RECORD_COLUMNS} FROM records WHERE name = ? AND key = ?"  # noqa: S608 - of constants
RECORDS = f"SELECT {RECORD_COLUMNS} FROM records WHERE name = ? AND key >= ? ORDER BY key LIMIT ?"  # noqa: S608 - of constants
RECORD_VALUE = "SELECT value FROM records WHERE name = ? AND key = ?"
RECORD_REVISION = "SELECT revision FROM records WHERE name = ? AND key = ?"
PUT_RECORD = (
    "INSERT INTO records (name, key, value, revision, checksum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name, key)"
    " DO UPDATE SET value = excluded.value, revision = excluded.revision, checksum = excluded.checksum"
)
DELETE_RECORD = "DELETE FROM records WHERE name = ? AND key = ?"

USED = "SELECT used FROM uses WHERE sequence = (SELECT sequence FROM resources WHERE kind = ? AND id = ?)"
PUT_USE = (
    "INSERT INTO uses (sequence, used) SELECT sequence, ? FROM resources WHERE kind = ? AND id = ?"
    " ON CONFLICT (sequence) DO UPDATE SET used = max(used, excluded.used)"
)
UNUSED = (
    "SELECT u.used, u.sequence, r.kind, r.id FROM uses AS u JOIN resources AS r ON r.sequence = u.sequence"
    " WHERE u.used <= ? AND (u.used, u.sequence) > (?, ?) ORDER BY u.used, u.sequence LIMIT ?"
)

LAST_ENTRY = "SELECT log, number, value, link FROM log_entries WHERE log = ? ORDER BY number DESC LIMIT 1"
ENTRIES = "SELECT log, number, value, link FROM log_entries WHERE log = ? AND number >= ? ORDER BY number LIMIT ?"
TRIM = "DELETE FROM log_entries WHERE log = ? AND number <= ?"
APPEND = "INSERT INTO log_entries (log, number, value, link) VALUES (?, ?, ?, ?)"

KEYS = "SELECT field, value FROM resource_keys WHERE sequence = ?"
ADD_KEY = (
    "INSERT OR IGNORE INTO resource_keys (kind, field, value, sequence, owner, shared)"
    " VALUES (?, ?, ?, ?, ?, ? NOT GLOB 'identity_account:*')"
)
DROP_KEY = "DELETE FROM resource_keys WHERE kind = ? AND field = ? AND value = ? AND sequence = ?"

DEPENDENTS = (
    "SELECT r.id FROM resource_keys AS k JOIN resources AS r ON r.sequence = k.sequence"
    " WHERE k.kind = ? AND k.field = ? AND k.value = ? ORDER BY k.sequence"
)

COUNT_UP = (
    "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
COUNT = "SELECT value FROM counters WHERE name = ?"
COUNTS = "SELECT name, value FROM counters WHERE name != '' AND value != 0"
COUNT_ROWS = "SELECT kind, count(*) FROM resources INDEXED BY resources_by_kind GROUP BY kind"
DROP_COUNTS = "DELETE FROM counters WHERE name != ''"
SET_COUNT = "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

# How a list finds its rows, called k: along an index of the rows of everybody, of an owner, or of all that no single
# caller owns, without a key or with one; {also} are ALSO_KEYS, ANY_KEY, NO_KEY of further ones.
ROWS_OF_ALL = ("resources AS k INDEXED BY resources_by_kind", "TRUE")
ROWS_OF_OWNER = ("resources AS k INDEXED BY resources_by_owner", "k.owner = ?")
ROWS_SHARED = ("resources AS k INDEXED BY resources_by_shared", "k.shared = 1")
HAS_KEY = "k.field = ? AND k.value = ?"
KEYS_OF_ALL = ("resource_keys AS k", HAS_KEY)
KEYS_OF_OWNER = ("resource_keys AS k INDEXED BY resource_keys_by_owner", f"k.owner = ? AND {HAS_KEY}")
KEYS_SHARED = ("resource_keys AS k INDEXED BY resource_keys_shared", f"k.shared = 1 AND {HAS_KEY}")
# Of any number of keys, while SQLite takes no long chain of conditions; each ends at the first that decides.
_KEY = (
    "EXISTS (SELECT 1 FROM resource_keys"
    " WHERE kind = k.kind AND field = wanted.column1 AND value = wanted.column2 AND sequence = k.sequence)"
)
_WANTED = "EXISTS (SELECT 1 FROM (VALUES {wanted}) AS wanted WHERE"
ALSO_KEYS = f" AND NOT {_WANTED} NOT {_KEY})"
ANY_KEY = f" AND {_WANTED} {_KEY})"
NO_KEY = f" AND NOT {_WANTED} {_KEY})"
# LEFT JOIN: in this order of the tables, so that nothing is to be sorted, and an entry of the index whose row is not
# there (damage) is not left out in silence.
FOUND = "WHERE k.kind = ? AND {holds}{also}"
NEWEST_FIRST = " ORDER BY k.sequence DESC"
BEFORE = f" AND k.sequence < ?{NEWEST_FIRST}"
SEQUENCES_BEFORE = f"SELECT k.sequence FROM {{along}} {FOUND}{BEFORE}"  # noqa: S608 - of constants
ROWS = (
    f"SELECT {', '.join('r.' + name for name in COLUMNS.split(', '))}"  # noqa: S608 - of constants
    f" FROM {{along}} LEFT JOIN resources AS r ON r.sequence = k.sequence {FOUND}"
)
ROWS_BEFORE = f"{ROWS}{BEFORE}"
SMALL_BYTES = 64 * 1024
# Many rows as one: their columns as JSON, with the length of their data, and that in one piece; where it is longer than
# SMALL_BYTES the length is NULL, and it stays out.
IN_BULK = (
    "SELECT json_group_array(json_array("  # noqa: S608 - of constants
    "kind, id, namespace, slug, iif(small, length(data), NULL), created_by, owner, sealed, revision,"
    " sequence, checksum)),"
    " CAST(group_concat(iif(small, data, NULL), '') AS BLOB)"
    f" FROM (SELECT *, length(data) <= {SMALL_BYTES} AS small FROM ("
)
ROWS_IN_BULK = f"{IN_BULK}{ROWS_BEFORE} LIMIT ?))"
THESE_IN_BULK = f"{IN_BULK}SELECT {COLUMNS} FROM resources WHERE sequence IN ({{these}}) ORDER BY sequence DESC))"  # noqa: S608 - of constants
COUNT_FOUND = f"SELECT count(*) FROM {{along}} {FOUND}"  # noqa: S608 - of constants
SAMPLE = f"SELECT count(*) FROM (SELECT 1 FROM {{along}} {FOUND} LIMIT ?)"  # noqa: S608 - of constants
NEWEST_OF_KEY = f"{ROWS.format(along=KEYS_OF_ALL[0], holds=HAS_KEY, also='')}{NEWEST_FIRST} LIMIT 1"
# The values of a joined field: for each, how many rows have it, and the newest before one. A value may come twice.
OF_BRANCH = "FROM resource_keys AS k WHERE k.kind = ? AND k.field = ? AND k.value = branch.value{also}"
BRANCHES = (
    f"SELECT value, (SELECT count(*) {OF_BRANCH}), (SELECT k.sequence {OF_BRANCH}{BEFORE} LIMIT 1) FROM ("  # noqa: S608 - of constants
    "SELECT r.id AS value FROM resource_keys AS h CROSS JOIN resources AS r ON r.sequence = h.sequence"
    " WHERE h.kind = ? AND h.field = ? AND h.value = ? UNION ALL SELECT ?) AS branch"
)
