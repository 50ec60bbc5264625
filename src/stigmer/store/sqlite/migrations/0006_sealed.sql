-- Whether a record of sealed values belongs to a row. The checksum of a row that has none is as it was.
ALTER TABLE resources ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
