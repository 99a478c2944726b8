-- A machine that handed something over. `crashes` counts rows of class 0.
CREATE TABLE node (
  id            INTEGER PRIMARY KEY,
  node_key      BLOB    NOT NULL,
  class         INTEGER NOT NULL DEFAULT 0,  -- 0 field, 1 drill, 2 canary
  name          TEXT    NOT NULL DEFAULT '', -- empty unless its owner allowed to send it
  incarnation   BLOB    NOT NULL,            -- newest: a re-image makes another
  agent_version TEXT    NOT NULL DEFAULT '',
  release_id    INTEGER,                     -- newest kernel it was seen with
  first_us      INTEGER NOT NULL,
  last_us       INTEGER NOT NULL,            -- our clock, when it last handed something over
  crashes       INTEGER NOT NULL DEFAULT 0,
  -- Would a crash be captured: 0 unknown, 1 unarmed, 2 armed, 3 proven. It holds until `readiness_until_us` by our
  -- clock; then the oldest of its checks says nothing any more.
  readiness          INTEGER NOT NULL DEFAULT 0,
  readiness_us       INTEGER NOT NULL DEFAULT 0, -- checked, by the node's clock
  readiness_until_us INTEGER NOT NULL DEFAULT 0,
  readiness_seen_us  INTEGER NOT NULL DEFAULT 0, -- when it came, by ours
  readiness_boot     BLOB    NOT NULL DEFAULT x'',
  readiness_doc      TEXT    NOT NULL DEFAULT '',
  CONSTRAINT node_key_unique UNIQUE (node_key),
  CONSTRAINT node_release_fk FOREIGN KEY (release_id) REFERENCES release (id)
) STRICT;
CREATE INDEX node_by_last ON node (class, last_us, id);
CREATE INDEX node_by_readiness ON node (class, readiness, last_us, id);
CREATE INDEX node_by_crashes ON node (class, crashes, id);

-- Operator's words about a node, from its newest manifest.
CREATE TABLE node_label (
  node_id INTEGER NOT NULL,
  name    TEXT    NOT NULL,
  value   TEXT    NOT NULL,
  CONSTRAINT node_label_pk PRIMARY KEY (node_id, name),
  CONSTRAINT node_label_node_fk FOREIGN KEY (node_id) REFERENCES node (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
