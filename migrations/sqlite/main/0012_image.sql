-- Debug files at hand: the bytes are in the folder `symbols`, by build-id.
CREATE TABLE image (
  id        INTEGER PRIMARY KEY,
  build_id  BLOB    NOT NULL,
  name      TEXT    NOT NULL,                -- `vmlinux` or the module's name
  kernel    TEXT    NOT NULL DEFAULT '',     -- release it was built for, as the file says it
  bytes     INTEGER NOT NULL,
  stored_us INTEGER NOT NULL,
  CONSTRAINT image_build_id_unique UNIQUE (build_id)
) STRICT;
CREATE INDEX image_by_name ON image (kernel, name);

-- Debug files that crashes ask for. Most kernels print no build-id for a module's frames, so that a file is
-- asked for by release and name, and by build-id where one was printed.
CREATE TABLE wanted (
  id       INTEGER PRIMARY KEY,
  kernel   TEXT NOT NULL,
  name     TEXT NOT NULL,
  build_id BLOB NOT NULL DEFAULT x'',        -- empty: not printed
  CONSTRAINT wanted_unique UNIQUE (kernel, name, build_id)
) STRICT;
CREATE INDEX wanted_by_build_id ON wanted (build_id);

-- Crashes that wait for one: the rows go when it arrived and the crash was located.
CREATE TABLE crash_wanted (
  wanted_id INTEGER NOT NULL,
  crash_id  INTEGER NOT NULL,
  CONSTRAINT crash_wanted_pk PRIMARY KEY (wanted_id, crash_id),
  CONSTRAINT crash_wanted_wanted_fk FOREIGN KEY (wanted_id) REFERENCES wanted (id),
  CONSTRAINT crash_wanted_crash_fk FOREIGN KEY (crash_id) REFERENCES crash (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX crash_wanted_by_crash ON crash_wanted (crash_id);
