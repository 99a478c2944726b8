-- How far a background reader has come. `read`: the highest evidence id of custody.db that is counted here; it
-- moves in the transaction that counts, so a kill between the two repeats nothing.
CREATE TABLE cursor (
  name  TEXT    NOT NULL,
  value INTEGER NOT NULL,
  CONSTRAINT cursor_pk PRIMARY KEY (name)
) STRICT, WITHOUT ROWID;
