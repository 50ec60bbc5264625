-- When each row that expires was used last, in ms since 1970; what was made before has its whole time from now on.
CREATE TABLE uses (
    sequence INTEGER PRIMARY KEY REFERENCES resources (sequence) ON DELETE CASCADE,
    used     INTEGER NOT NULL
) STRICT;

CREATE INDEX uses_by_time ON uses (used);

INSERT INTO uses SELECT sequence, strftime('%s', 'now') * 1000 FROM resources WHERE kind = 'ExecutionContext';
