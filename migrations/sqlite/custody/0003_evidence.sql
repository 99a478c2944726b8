-- What was handed over, never edited. The rising id is the order in which evidence is read.
CREATE TABLE evidence (
  id              INTEGER PRIMARY KEY,
  evidence_key    BLOB    NOT NULL,
  node_key        BLOB    NOT NULL,
  kind            TEXT    NOT NULL,          -- the manifest's word: unknown kinds are kept too
  blob_id         INTEGER,                   -- null while only the count is known (withheld)
  sha256          BLOB    NOT NULL,
  size            INTEGER NOT NULL,
  manifest        BLOB    NOT NULL,          -- canonical JSON, zstd
  manifest_sha256 BLOB    NOT NULL,
  received_us     INTEGER NOT NULL,
  disposition     INTEGER NOT NULL,          -- 0 stored, 2 counted, 3 quarantined
  weight          INTEGER NOT NULL DEFAULT 1,
  CONSTRAINT evidence_key_unique UNIQUE (evidence_key),
  CONSTRAINT evidence_blob_fk FOREIGN KEY (blob_id) REFERENCES blob (id)
) STRICT;
CREATE INDEX evidence_by_blob ON evidence (blob_id);
CREATE INDEX evidence_by_node ON evidence (node_key, id);
