"""A random key of the database's own, of which others are derived: it signs what callers bring back."""

import secrets
import sqlite3

TABLE = "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID"
KEY_BYTES = 32


def migrate(connection: sqlite3.Connection) -> None:
    """Make the table, and the key in it."""
    connection.execute(TABLE)
    connection.execute("INSERT INTO secrets (name, value) VALUES ('root', ?)", (secrets.token_bytes(KEY_BYTES),))
