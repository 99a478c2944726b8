-- Exact counts of crashes of class 0, raised only for rows that were really inserted, and rebuilt from them by
-- one statement each. There is no approximate counter.

-- Distinct nodes of a signature are rows here, so that they stay exact.
CREATE TABLE sighting (
  signature_id INTEGER NOT NULL,
  node_id      INTEGER NOT NULL,
  release_id   INTEGER NOT NULL,
  crashes      INTEGER NOT NULL,
  first_us     INTEGER NOT NULL,
  last_us      INTEGER NOT NULL,
  CONSTRAINT sighting_pk PRIMARY KEY (signature_id, node_id, release_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sighting_by_crashes ON sighting (signature_id, crashes, node_id, release_id);
CREATE INDEX sighting_by_node ON sighting (node_id, last_us);

CREATE TABLE signature_release (
  signature_id INTEGER NOT NULL,
  release_id   INTEGER NOT NULL,
  crashes      INTEGER NOT NULL,
  fatal        INTEGER NOT NULL,
  nodes        INTEGER NOT NULL,
  first_us     INTEGER NOT NULL,
  last_us      INTEGER NOT NULL,
  CONSTRAINT signature_release_pk PRIMARY KEY (signature_id, release_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX signature_release_by_release ON signature_release (release_id, nodes, signature_id);

-- Days are whole UTC days since 1970.
CREATE TABLE signature_day (
  signature_id INTEGER NOT NULL,
  day          INTEGER NOT NULL,
  release_id   INTEGER NOT NULL,
  crashes      INTEGER NOT NULL,
  fatal        INTEGER NOT NULL,
  CONSTRAINT signature_day_pk PRIMARY KEY (signature_id, day, release_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE release_day (
  day        INTEGER NOT NULL,
  release_id INTEGER NOT NULL,
  crashes    INTEGER NOT NULL,
  fatal      INTEGER NOT NULL,
  CONSTRAINT release_day_pk PRIMARY KEY (day, release_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE signature_variant (
  signature_id INTEGER NOT NULL,
  variant_id   INTEGER NOT NULL,
  crashes      INTEGER NOT NULL,
  first_us     INTEGER NOT NULL,
  last_us      INTEGER NOT NULL,
  CONSTRAINT signature_variant_pk PRIMARY KEY (signature_id, variant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX signature_variant_by_variant ON signature_variant (variant_id, signature_id);
