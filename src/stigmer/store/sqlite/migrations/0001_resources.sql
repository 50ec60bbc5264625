-- One key-value table for every kind; what a kind is reached by stands in resource_keys.
CREATE TABLE resources (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    namespace  TEXT NOT NULL,
    slug       TEXT,
    created_by TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    data       BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX resources_by_id ON resources (kind, id);
CREATE UNIQUE INDEX resources_by_slug ON resources (kind, slug, namespace) WHERE slug IS NOT NULL;
CREATE INDEX resources_by_kind ON resources (kind);

CREATE TABLE resource_keys (
    kind     TEXT NOT NULL,
    field    TEXT NOT NULL,
    value    TEXT NOT NULL,
    sequence INTEGER NOT NULL REFERENCES resources (sequence) ON DELETE CASCADE,
    PRIMARY KEY (kind, field, value, sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX resource_keys_by_sequence ON resource_keys (sequence);

-- How many rows each kind has, and (under the name '') the last revision given.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
