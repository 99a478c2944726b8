-- Large evidence on its way, part by part. What is lost here is sent again from an earlier offset, or from the
-- start: custody begins with the receipt, in custody.db.
CREATE TABLE upload (
  id           INTEGER PRIMARY KEY,
  upload_key   BLOB    NOT NULL,             -- names the address and the file of its parts
  evidence_key BLOB    NOT NULL,
  node_key     BLOB    NOT NULL,
  manifest     BLOB    NOT NULL,             -- canonical JSON
  coding       TEXT    NOT NULL,
  coded_size   INTEGER NOT NULL,
  coded_offset INTEGER NOT NULL,             -- bytes that are durable in the file
  finished     INTEGER NOT NULL DEFAULT 0,   -- 1: there is a receipt
  expires_us   INTEGER NOT NULL,
  CONSTRAINT upload_key_unique UNIQUE (upload_key),
  CONSTRAINT upload_evidence_unique UNIQUE (evidence_key)
) STRICT;
CREATE INDEX upload_by_expiry ON upload (expires_us);
CREATE INDEX upload_by_node ON upload (node_key) WHERE finished = 0;
