-- Bytes of evidence, once each by the digest of what they decode to. Up to 64 KiB coded they are a row, atomic
-- with their receipt and one fsync; larger ones are a file by content address, since a row is copied through
-- the write-ahead log and read whole into memory.
CREATE TABLE blob (
  id      INTEGER PRIMARY KEY,
  sha256  BLOB    NOT NULL,                  -- of the decoded bytes
  size    INTEGER NOT NULL,                  -- decoded bytes
  home    INTEGER NOT NULL,                  -- 0 this row, 1 file; both zstd
  bytes   BLOB,                              -- null unless home = 0
  CONSTRAINT blob_sha256_unique UNIQUE (sha256)
) STRICT;
