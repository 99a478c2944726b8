-- The crashes that were located with a build: whose files are worth keeping, and for whom.
CREATE TABLE crash_image (
  image_id INTEGER NOT NULL,
  crash_id INTEGER NOT NULL,
  CONSTRAINT crash_image_pk PRIMARY KEY (image_id, crash_id),
  CONSTRAINT crash_image_image_fk FOREIGN KEY (image_id) REFERENCES image (id) ON DELETE CASCADE,
  CONSTRAINT crash_image_crash_fk FOREIGN KEY (crash_id) REFERENCES crash (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX crash_image_by_crash ON crash_image (crash_id);

-- When a crash last asked for it; 0 never.
ALTER TABLE image ADD COLUMN used_us INTEGER NOT NULL DEFAULT 0;
