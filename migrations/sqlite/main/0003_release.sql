-- One kernel build. Two builds may print the same version text, so the build-id is the key where it is known.
CREATE TABLE release (
  id          INTEGER PRIMARY KEY,
  release_key BLOB    NOT NULL,              -- H("lastwords/release/v1", build-id or kernel text)
  kernel      TEXT    NOT NULL,              -- as `uname -r` says it
  build_id    BLOB,
  arch        TEXT    NOT NULL,
  first_us    INTEGER NOT NULL,
  CONSTRAINT release_key_unique UNIQUE (release_key)
) STRICT;
