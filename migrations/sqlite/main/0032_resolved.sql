-- When people said that a signature is mended, µs since 1970 UTC; null in every other state. A crash after it makes the
-- signature regressed (state 4); one before it, handed over late, does not.
ALTER TABLE signature ADD COLUMN resolved_us INTEGER;
