-- Where in the source a place in an image is: crashes of one build share the answer, so that late debug files
-- cost some thousand look-ups and not one for each crash.
CREATE TABLE location (
  image_id INTEGER NOT NULL,
  function TEXT    NOT NULL,
  offset_b INTEGER NOT NULL,
  size_b   INTEGER NOT NULL,                 -- as printed: tells static functions of one name apart; 0 none
  exact    INTEGER NOT NULL,                 -- 0: a return address, looked up one byte before
  answer   TEXT    NOT NULL,                 -- the symbolizer's resolution, JSON
  CONSTRAINT location_pk PRIMARY KEY (image_id, function, offset_b, size_b, exact),
  CONSTRAINT location_image_fk FOREIGN KEY (image_id) REFERENCES image (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
