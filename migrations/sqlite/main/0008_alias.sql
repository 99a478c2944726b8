-- Titles that lead to a signature. A new way of naming a fault keeps its history because the old titles stay.
CREATE TABLE alias (
  id            INTEGER PRIMARY KEY,
  title         TEXT    NOT NULL,
  scope         BLOB    NOT NULL DEFAULT x'', -- a node: a title that names nothing certain never joins machines
  kind          INTEGER NOT NULL,            -- 0 title, 1 ALT (a coarser name two faults may share)
  signature_id  INTEGER NOT NULL,
  origin        INTEGER NOT NULL,            -- 0 rules, 1 a person
  rules_version INTEGER NOT NULL,
  created_us    INTEGER NOT NULL,
  CONSTRAINT alias_signature_fk FOREIGN KEY (signature_id) REFERENCES signature (id)
) STRICT;
CREATE UNIQUE INDEX alias_title_unique ON alias (title, scope) WHERE kind = 0;
CREATE UNIQUE INDEX alias_alt_unique ON alias (title, signature_id) WHERE kind = 1;
CREATE INDEX alias_by_signature ON alias (signature_id);

-- What people decided: asked before every rule, and never touched by a new rule.
CREATE TABLE placement (
  id           INTEGER PRIMARY KEY,
  title        TEXT    NOT NULL,
  scope        BLOB    NOT NULL DEFAULT x'',
  variant_key  BLOB,                         -- null: any stack
  signature_id INTEGER NOT NULL,             -- where it belongs
  from_id      INTEGER NOT NULL,             -- where it was, for undoing
  decided_us   INTEGER NOT NULL,
  decided_by   TEXT    NOT NULL,
  undone_us    INTEGER,
  CONSTRAINT placement_signature_fk FOREIGN KEY (signature_id) REFERENCES signature (id),
  CONSTRAINT placement_from_fk FOREIGN KEY (from_id) REFERENCES signature (id)
) STRICT;
CREATE INDEX placement_by_title ON placement (title, scope) WHERE undone_us IS NULL;
CREATE INDEX placement_by_from ON placement (from_id) WHERE undone_us IS NULL;
