-- The newest receipt of each node's stream: what the next one chains to. It is the only row that two uploads
-- of one node queue on; no chain goes over all nodes.
CREATE TABLE stream (
  node_key BLOB    NOT NULL,
  epoch    INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  head     BLOB    NOT NULL,                 -- receipt hash of seq; 32 zero bytes before the first
  CONSTRAINT stream_pk PRIMARY KEY (node_key)
) STRICT, WITHOUT ROWID;

-- Every receipt that ever left, as signed: asking again returns the same bytes.
CREATE TABLE receipt (
  id           INTEGER PRIMARY KEY,
  node_key     BLOB    NOT NULL,
  epoch        INTEGER NOT NULL,
  seq          INTEGER NOT NULL,
  hash         BLOB    NOT NULL,             -- receipt hash: a node's head is looked up by it
  evidence_key BLOB    NOT NULL,
  disposition  INTEGER NOT NULL,             -- 0 stored, 1 duplicate, 2 counted, 3 quarantined, 4 refused
  envelope     TEXT    NOT NULL,             -- the receipt and its signature, as sent
  issued_us    INTEGER NOT NULL,
  CONSTRAINT receipt_seq_unique UNIQUE (node_key, epoch, seq),
  CONSTRAINT receipt_once UNIQUE (evidence_key, epoch, disposition)
) STRICT;
