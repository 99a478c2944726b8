-- Work that must survive a restart. A done job is deleted; a lease that ran out is due again.
CREATE TABLE job (
  id        INTEGER PRIMARY KEY,
  kind      INTEGER NOT NULL,                -- 1 locate a crash
  subject   INTEGER NOT NULL,
  state     INTEGER NOT NULL DEFAULT 0,      -- 0 due, 1 leased, 2 dead
  run_us    INTEGER NOT NULL,                -- due from; while leased, when the lease ends
  attempts  INTEGER NOT NULL DEFAULT 0,
  lease_key BLOB,
  error     TEXT    NOT NULL DEFAULT '',
  CONSTRAINT job_once UNIQUE (kind, subject) -- makes asking for it twice the same as once
) STRICT;
CREATE INDEX job_due ON job (run_us, id) WHERE state = 0;
CREATE INDEX job_leased ON job (run_us) WHERE state = 1;
