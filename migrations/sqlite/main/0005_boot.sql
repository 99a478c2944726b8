-- One boot of one node: crashes of the same boot belong together, those of two boots never do. A boot nobody
-- reported is opened by the evidence about it (basis 3).
CREATE TABLE boot (
  id         INTEGER PRIMARY KEY,
  node_id    INTEGER NOT NULL,
  boot_key   BLOB    NOT NULL,
  basis      INTEGER NOT NULL,               -- 0 ledger, 1 journal, 2 record, 3 derived
  release_id INTEGER,
  ordinal    INTEGER,                        -- counts the boots of a node, by its agent; null when nobody reported it
  rev        INTEGER NOT NULL DEFAULT 0,     -- of the boot record that is kept; it never falls
  started_us INTEGER,                        -- by the node's clock
  seen_us    INTEGER NOT NULL,               -- last heard of, by ours
  ended_us   INTEGER,                        -- by the node's clock, when somebody knows
  ending     INTEGER NOT NULL DEFAULT 0,     -- 0 running or unknown, 1 clean, 2 crash, 3 hardware, 4 watchdog or power, 5 silent
  doc        TEXT    NOT NULL DEFAULT '',    -- the boot record, as it came
  CONSTRAINT boot_key_unique UNIQUE (node_id, boot_key),
  CONSTRAINT boot_node_fk FOREIGN KEY (node_id) REFERENCES node (id) ON DELETE CASCADE,
  CONSTRAINT boot_release_fk FOREIGN KEY (release_id) REFERENCES release (id)
) STRICT;
CREATE INDEX boot_by_node ON boot (node_id, seen_us, id);
CREATE INDEX boot_silent ON boot (seen_us, id) WHERE ending = 5;
