-- Who may do what. The secret itself is nowhere in the database: 256 random bits need no slow hash, so its
-- SHA-256 is what is stored and compared.
CREATE TABLE token (
  id         INTEGER PRIMARY KEY,
  hash       BLOB    NOT NULL,
  name       TEXT    NOT NULL,
  scopes     TEXT    NOT NULL,               -- words with spaces between: ingest read symbols admin
  node_key   BLOB,                           -- when set, speaks for this node only
  created_us INTEGER NOT NULL,
  expires_us INTEGER,
  revoked_us INTEGER,
  CONSTRAINT token_hash_unique UNIQUE (hash)
) STRICT;

-- A browser that showed a token once. It ends with the token.
CREATE TABLE session (
  hash       BLOB    NOT NULL,               -- SHA-256 of the cookie's secret
  token_id   INTEGER NOT NULL,
  expires_us INTEGER NOT NULL,
  CONSTRAINT session_pk PRIMARY KEY (hash),
  CONSTRAINT session_token_fk FOREIGN KEY (token_id) REFERENCES token (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
