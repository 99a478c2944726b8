-- What was read from each piece of evidence; the same id as in custody.db, which holds the bytes. `crashes = 0`
-- is the worklist of what nobody could name.
CREATE TABLE evidence (
  id            INTEGER PRIMARY KEY,
  evidence_key  BLOB    NOT NULL,            -- so that a page needs one database
  node_id       INTEGER NOT NULL,
  boot_id       INTEGER NOT NULL,
  kind          TEXT    NOT NULL,
  class         INTEGER NOT NULL DEFAULT 0,
  received_us   INTEGER NOT NULL,
  rules_version INTEGER NOT NULL,            -- the naming rules that read it: older ones are stale
  crashes       INTEGER NOT NULL,
  weight        INTEGER NOT NULL DEFAULT 1,
  notes         TEXT    NOT NULL DEFAULT '[]', -- damage seen by the agent and by the reader
  CONSTRAINT evidence_key_unique UNIQUE (evidence_key),
  CONSTRAINT evidence_node_fk FOREIGN KEY (node_id) REFERENCES node (id),
  CONSTRAINT evidence_boot_fk FOREIGN KEY (boot_id) REFERENCES boot (id)
) STRICT;
CREATE INDEX evidence_by_node ON evidence (node_id, received_us, id);
CREATE INDEX evidence_stale ON evidence (rules_version, id);
CREATE INDEX evidence_unnamed ON evidence (received_us, id) WHERE crashes = 0;
