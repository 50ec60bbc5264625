"""Records and logs beside the rows; the random key of the database becomes a record.

The rowid stays: a record's value may be long, and `WITHOUT ROWID` would put it into the index.
"""

import sqlite3

from stigmer.store.sqlite.checksum import checksum_of_record
from stigmer.store.sqlite.statements import PUT_RECORD, ROOT, SECRETS

RECORDS = """
CREATE TABLE records (
    name     TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    BLOB NOT NULL,
    revision INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (name, key)
) STRICT
"""
LOG_ENTRIES = """
CREATE TABLE log_entries (
    log    TEXT NOT NULL,
    number INTEGER NOT NULL,
    value  BLOB NOT NULL,
    link   BLOB NOT NULL,
    PRIMARY KEY (log, number)
) STRICT
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Make the tables; move the key."""
    connection.execute(RECORDS)
    connection.execute(LOG_ENTRIES)
    (key,) = connection.execute("SELECT value FROM secrets").fetchone()
    record = (SECRETS, ROOT, key, 0)
    connection.execute(PUT_RECORD, (*record, checksum_of_record(*record)))
    connection.execute("DROP TABLE secrets")
