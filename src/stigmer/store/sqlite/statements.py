"""Every SQL statement of the SQLite backend, named."""

from __future__ import annotations

COLUMNS = "kind, id, namespace, slug, data, created_by, revision, sequence, checksum"

SECRETS, ROOT = "secrets", "root"
"""The record of which the store's secrets are derived."""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 8000",  # pages: for the case that MOVE falls behind, see `readers`
)
CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
MOVE = "PRAGMA wal_checkpoint(PASSIVE)"
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
BY_SEQUENCE = f"SELECT {COLUMNS} FROM resources WHERE sequence = ?"  # noqa: S608 - of constants
NEWEST_ROWS = f"SELECT {COLUMNS} FROM resources ORDER BY sequence DESC"  # noqa: S608 - of constants
REVISION = "SELECT value FROM counters WHERE name = ''"
# The root of each table and index, too: where one cannot be read, the store is of no use.
PROBE = (
    "SELECT (SELECT value FROM counters WHERE name = ''), (SELECT max(sequence) FROM resources),"
    " (SELECT max(kind) FROM resource_keys), (SELECT max(kind) FROM resources),"
    " EXISTS (SELECT 1 FROM resources WHERE kind = '' AND id = ''),"
    " EXISTS (SELECT 1 FROM resources WHERE kind = '' AND slug = '' AND namespace = ''),"
    " (SELECT max(rowid) FROM records), EXISTS (SELECT 1 FROM records WHERE name = '' AND key = ''),"
    " (SELECT max(rowid) FROM log_entries), EXISTS (SELECT 1 FROM log_entries WHERE log = '')"
)

ROOT_KEY = f"SELECT value FROM records WHERE name = '{SECRETS}' AND key = '{ROOT}'"  # noqa: S608 - of constants

HEAD = "SELECT sequence, revision, namespace, slug, created_by FROM resources WHERE kind = ? AND id = ?"
INSERT = (
    "INSERT INTO resources (kind, id, namespace, slug, created_by, revision, data, checksum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE = "UPDATE resources SET data = ?, revision = ?, checksum = ? WHERE sequence = ?"
DELETE = "DELETE FROM resources WHERE sequence = ?"

ROW_CHECKSUM = (
    "row_checksum(CAST(kind AS BLOB), CAST(id AS BLOB), CAST(namespace AS BLOB), CAST(slug AS BLOB),"
    " CAST(created_by AS BLOB), revision, data)"
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
RECORD_REVISION = "SELECT revision FROM records WHERE name = ? AND key = ?"
PUT_RECORD = (
    "INSERT INTO records (name, key, value, revision, checksum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name, key)"
    " DO UPDATE SET value = excluded.value, revision = excluded.revision, checksum = excluded.checksum"
)
DELETE_RECORD = "DELETE FROM records WHERE name = ? AND key = ?"

LAST_ENTRY = "SELECT log, number, value, link FROM log_entries WHERE log = ? ORDER BY number DESC LIMIT 1"
ENTRIES = "SELECT log, number, value, link FROM log_entries WHERE log = ? AND number >= ? ORDER BY number LIMIT ?"
APPEND = "INSERT INTO log_entries (log, number, value, link) VALUES (?, ?, ?, ?)"

KEYS = "SELECT field, value FROM resource_keys WHERE sequence = ?"
ADD_KEY = "INSERT OR IGNORE INTO resource_keys (kind, field, value, sequence) VALUES (?, ?, ?, ?)"
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
COUNT_ROWS = "SELECT kind, count(*) FROM resources GROUP BY kind"
DROP_COUNTS = "DELETE FROM counters WHERE name != ''"
SET_COUNT = "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

OF_KIND = "SELECT {columns} FROM resources WHERE kind = ? AND sequence < ? ORDER BY sequence DESC"
SEQUENCES_OF_KIND = OF_KIND.format(columns="sequence")
ROWS_OF_KIND = OF_KIND.format(columns=COLUMNS)

# {also} is HAS_KEYS for further keys. LEFT JOIN: in this order of the tables, so that nothing is to be sorted, and a
# key whose row is not there (damage) is not left out in silence.
OF_KEY = "WHERE k.kind = ? AND k.field = ? AND k.value = ?{also}"
NEWEST_FIRST = " ORDER BY k.sequence DESC"
BEFORE = f" AND k.sequence < ?{NEWEST_FIRST}"
SEQUENCES_OF_KEY = f"SELECT sequence FROM resource_keys AS k {OF_KEY}{BEFORE}"  # noqa: S608 - of constants
JOINED_ROWS = (
    f"SELECT {', '.join('r.' + name for name in COLUMNS.split(', '))}"  # noqa: S608 - of constants
    f" FROM resource_keys AS k LEFT JOIN resources AS r ON r.sequence = k.sequence {OF_KEY}"
)
ROWS_OF_KEY = f"{JOINED_ROWS}{BEFORE}"
NEWEST_OF_KEY = f"{JOINED_ROWS.format(also='')}{NEWEST_FIRST} LIMIT 1"
COUNT_OF_KEY = f"SELECT count(*) FROM resource_keys AS k {OF_KEY}"  # noqa: S608 - of constants
HAS_KEYS = (  # of any number of keys, while SQLite takes no long chain of conditions; ends at one that is not there
    " AND NOT EXISTS (SELECT 1 FROM (VALUES {wanted}) AS wanted WHERE NOT EXISTS (SELECT 1 FROM resource_keys"
    " WHERE kind = k.kind AND field = wanted.column1 AND value = wanted.column2 AND sequence = k.sequence))"
)
SAMPLE_OF_KEY = "SELECT count(*) FROM (SELECT 1 FROM resource_keys WHERE kind = ? AND field = ? AND value = ? LIMIT ?)"
# The values of a joined field: for each, how many rows have it, and the newest before one. A value may come twice.
OF_BRANCH = "FROM resource_keys AS k WHERE k.kind = ? AND k.field = ? AND k.value = branch.value{also}"
BRANCHES = (
    f"SELECT value, (SELECT count(*) {OF_BRANCH}), (SELECT k.sequence {OF_BRANCH}{BEFORE} LIMIT 1) FROM ("  # noqa: S608 - of constants
    "SELECT r.id AS value FROM resource_keys AS h CROSS JOIN resources AS r ON r.sequence = h.sequence"
    " WHERE h.kind = ? AND h.field = ? AND h.value = ? UNION ALL SELECT ?) AS branch"
)
