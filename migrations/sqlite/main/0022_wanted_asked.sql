-- What debuginfod servers said about a debug file that is missing, and when they are asked again.
ALTER TABLE wanted ADD COLUMN asked_us INTEGER;
ALTER TABLE wanted ADD COLUMN retry_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE wanted ADD COLUMN answer TEXT NOT NULL DEFAULT '';
