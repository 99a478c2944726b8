-- Who this service is. Every receipt names the service, its key and its epoch, so that a node can tell a
-- restored or foreign service from the one it handed its evidence to.
CREATE TABLE service (
  one         INTEGER NOT NULL,
  service_key BLOB    NOT NULL,              -- 16 random bytes, made with the database
  epoch       INTEGER NOT NULL,              -- raised by one when a rollback was proven; never falls
  created_us  INTEGER NOT NULL,
  rolled_back_us INTEGER,                    -- when a node proved that receipts were lost; null once acknowledged
  CONSTRAINT service_pk PRIMARY KEY (one),
  CONSTRAINT service_single CHECK (one = 1)
) STRICT, WITHOUT ROWID;

-- Public halves only: the secret half is a file of mode 0600 beside the database, so that a copy of the
-- database alone signs nothing.
CREATE TABLE signing_key (
  key_id      BLOB    NOT NULL,
  public      BLOB    NOT NULL,
  state       INTEGER NOT NULL,              -- 0 next, 1 active, 2 retired, 3 revoked
  created_us  INTEGER NOT NULL,
  CONSTRAINT signing_key_pk PRIMARY KEY (key_id)
) STRICT, WITHOUT ROWID;
