-- Crashes that are the same fault. The numbers are exact roll-ups of the rows of class 0, written in the
-- transaction that counts.
CREATE TABLE signature (
  id               INTEGER PRIMARY KEY,
  signature_key    BLOB    NOT NULL,         -- H("lastwords/signature/v1", first title, its scope if any), 16 bytes
  title            TEXT    NOT NULL,         -- the kernel's: first title it was opened with
  name             TEXT,                     -- a person's, shown instead
  class            INTEGER NOT NULL DEFAULT 0,
  type             TEXT    NOT NULL,
  severity         TEXT    NOT NULL,
  fatal            INTEGER NOT NULL,         -- 1 when any of its crashes killed the machine
  corrupted        INTEGER NOT NULL,
  function         TEXT    NOT NULL DEFAULT '', -- whom to blame, as far as the rules know
  module           TEXT    NOT NULL DEFAULT '',
  subsystem        TEXT    NOT NULL DEFAULT '',
  rules_version    INTEGER NOT NULL,
  state            INTEGER NOT NULL DEFAULT 0, -- 0 new, 1 acknowledged, 2 resolved, 3 muted, 4 regressed
  merged_into_id   INTEGER,                  -- kept as a redirect: old links go on
  crashes          INTEGER NOT NULL DEFAULT 0,
  nodes            INTEGER NOT NULL DEFAULT 0,
  first_us         INTEGER NOT NULL,
  last_us          INTEGER NOT NULL,
  first_release_id INTEGER,
  last_release_id  INTEGER,
  CONSTRAINT signature_key_unique UNIQUE (signature_key),
  CONSTRAINT signature_merged_fk FOREIGN KEY (merged_into_id) REFERENCES signature (id)
) STRICT;
CREATE INDEX signature_by_last ON signature (class, last_us, id) WHERE merged_into_id IS NULL;
CREATE INDEX signature_by_first ON signature (class, first_us, id) WHERE merged_into_id IS NULL;
CREATE INDEX signature_by_nodes ON signature (class, nodes, id) WHERE merged_into_id IS NULL;
CREATE INDEX signature_by_crashes ON signature (class, crashes, id) WHERE merged_into_id IS NULL;
