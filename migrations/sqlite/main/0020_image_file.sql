-- Where the bytes of a build lie. A build may have one file with debug information and another with the code, and
-- either in our own folder and in folders of others that are watched. When its files go the build stays in `image`:
-- what was found with them stays true, and stays shown.
CREATE TABLE image_file (
  path       TEXT    NOT NULL,               -- below the folder `symbols`; from the root, in a watched folder
  image_id   INTEGER,                        -- null: looked at, and no debug file
  lines      INTEGER NOT NULL,               -- 1: has debug information
  text       INTEGER NOT NULL,               -- 1: has the code
  bytes      INTEGER NOT NULL,               -- as it lies on the disk
  changed_us INTEGER NOT NULL,               -- its mtime: a watched file that has the same is not read again
  stored_us  INTEGER NOT NULL,
  origin     INTEGER NOT NULL,               -- 0 put in, 1 watched, 2 fetched from a debuginfod server
  CONSTRAINT image_file_pk PRIMARY KEY (path),
  CONSTRAINT image_file_image_fk FOREIGN KEY (image_id) REFERENCES image (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX image_file_by_image ON image_file (image_id);

-- Until now a build had one file, and nobody had looked whether the code is in it.
INSERT INTO image_file (path, image_id, lines, text, bytes, changed_us, stored_us, origin)
SELECT lower(substr(hex(build_id), 1, 2) || '/' || substr(hex(build_id), 3)) || '.debug',
       id, 1, 0, bytes, stored_us, stored_us, 0
  FROM image;
ALTER TABLE image DROP COLUMN bytes;
