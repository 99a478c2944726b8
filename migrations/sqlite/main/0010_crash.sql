-- One report of one boot of one node, whatever number of sources it was seen in.
CREATE TABLE crash (
  id           INTEGER PRIMARY KEY,
  crash_key    BLOB    NOT NULL,
  class        INTEGER NOT NULL DEFAULT 0,
  signature_id INTEGER NOT NULL,
  variant_id   INTEGER NOT NULL,
  title_id     INTEGER NOT NULL,             -- the title this crash printed; may differ from its signature's
  node_id      INTEGER NOT NULL,
  boot_id      INTEGER NOT NULL,
  release_id   INTEGER NOT NULL,
  at_us        INTEGER NOT NULL,
  at_basis     TEXT    NOT NULL,             -- where at_us is from: the manifest's word, `found` or `received`
  kernel_us    INTEGER,                      -- since boot, of the header line
  received_us  INTEGER NOT NULL,
  fatal        INTEGER NOT NULL,
  corrupted    TEXT    NOT NULL DEFAULT '',  -- why the kernel's text is not whole; empty when it is
  cpu          INTEGER,
  pid          INTEGER,
  comm         TEXT    NOT NULL DEFAULT '',
  module       TEXT    NOT NULL DEFAULT '',
  taint        TEXT    NOT NULL DEFAULT '',  -- letters, as printed
  unresolved   INTEGER NOT NULL DEFAULT 0,   -- frames without a source line
  CONSTRAINT crash_key_unique UNIQUE (crash_key),
  CONSTRAINT crash_signature_fk FOREIGN KEY (signature_id) REFERENCES signature (id),
  CONSTRAINT crash_variant_fk FOREIGN KEY (variant_id) REFERENCES variant (id),
  CONSTRAINT crash_title_fk FOREIGN KEY (title_id) REFERENCES alias (id),
  CONSTRAINT crash_node_fk FOREIGN KEY (node_id) REFERENCES node (id),
  CONSTRAINT crash_boot_fk FOREIGN KEY (boot_id) REFERENCES boot (id),
  CONSTRAINT crash_release_fk FOREIGN KEY (release_id) REFERENCES release (id)
) STRICT;
CREATE INDEX crash_by_time ON crash (class, at_us, id);
CREATE INDEX crash_by_signature ON crash (signature_id, at_us, id);
CREATE INDEX crash_by_variant ON crash (variant_id, signature_id);
CREATE INDEX crash_by_title ON crash (title_id);
CREATE INDEX crash_by_node ON crash (node_id, at_us, id);
CREATE INDEX crash_by_release ON crash (release_id, at_us, id);
CREATE INDEX crash_by_boot ON crash (boot_id);

-- Which report of which evidence tells of a crash: a pstore record and a journal excerpt of one oops are two
-- rows here and one above.
CREATE TABLE crash_evidence (
  crash_id    INTEGER NOT NULL,
  evidence_id INTEGER NOT NULL,
  report_no   INTEGER NOT NULL,              -- index into the reports of that evidence
  CONSTRAINT crash_evidence_pk PRIMARY KEY (crash_id, evidence_id),
  CONSTRAINT crash_evidence_crash_fk FOREIGN KEY (crash_id) REFERENCES crash (id) ON DELETE CASCADE,
  CONSTRAINT crash_evidence_evidence_fk FOREIGN KEY (evidence_id) REFERENCES evidence (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX crash_evidence_by_evidence ON crash_evidence (evidence_id);
