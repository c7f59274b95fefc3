CREATE TABLE keyvalue (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  bytes BLOB NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key));
