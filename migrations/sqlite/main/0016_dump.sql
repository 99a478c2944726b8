-- What was read from each dump of memory: the kernel's log, and who did what when it died. The dump itself is in
-- custody; reading gigabytes again for each page would be felt.
CREATE TABLE dump (
  evidence_id INTEGER NOT NULL,
  reader      INTEGER NOT NULL,              -- version of the reader: what an older one read is read again
  log         BLOB    NOT NULL,              -- zstd
  summary     BLOB,                          -- JSON of `vmcore::Summary`, zstd; null when it could not be read
  failure     TEXT    NOT NULL DEFAULT '',   -- why not
  CONSTRAINT dump_pk PRIMARY KEY (evidence_id),
  CONSTRAINT dump_evidence_fk FOREIGN KEY (evidence_id) REFERENCES evidence (id) ON UPDATE CASCADE
) STRICT, WITHOUT ROWID;

-- A dump belongs to the crash that ended its boot, whichever of the two came first.
CREATE INDEX evidence_of_memory ON evidence (boot_id) WHERE kind IN ('vmcore', 'vmcore-extract', 'vmcore-summary');
-- Of a report that comes again in another source, the crash is found by its boot and the kernel's time.
CREATE INDEX crash_by_moment ON crash (boot_id, kernel_us);
DROP INDEX crash_by_boot;
-- Jobs of kind 2 read a dump (the subject is its evidence). They have a worker of their own, so that source lines do
-- not wait for them.
DROP INDEX job_due;
CREATE INDEX job_due ON job (kind, run_us, id) WHERE state = 0;
