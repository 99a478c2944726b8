-- A stack, as function names. Frames belong to it and not to a crash: a million crashes have about a hundred
-- thousand different stacks.
CREATE TABLE variant (
  id          INTEGER PRIMARY KEY,
  variant_key BLOB    NOT NULL,              -- H("lastwords/variant/v1", arch, names…), 16 bytes
  arch        TEXT    NOT NULL,
  CONSTRAINT variant_key_unique UNIQUE (variant_key)
) STRICT;
CREATE TABLE frame (
  variant_id INTEGER NOT NULL,
  position   INTEGER NOT NULL,               -- 0 innermost
  function   TEXT    NOT NULL,
  CONSTRAINT frame_pk PRIMARY KEY (variant_id, position),
  CONSTRAINT frame_variant_fk FOREIGN KEY (variant_id) REFERENCES variant (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX frame_by_function ON frame (function, variant_id);
