-- Which files of schemas that other packages ship were applied here: they keep no such list of their own.
CREATE TABLE schema_parts (
  part text NOT NULL,
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL,
  PRIMARY KEY (part, name));
