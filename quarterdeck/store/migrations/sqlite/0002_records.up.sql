CREATE TABLE records (
  no INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  status TEXT NOT NULL,
  owner TEXT NOT NULL,
  ref TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  data TEXT NOT NULL,
  UNIQUE (tenant, kind, id));
CREATE INDEX records_status ON records (tenant, kind, status) WHERE status <> '';
CREATE INDEX records_owner ON records (tenant, kind, owner) WHERE owner <> '';
CREATE INDEX records_ref ON records (ref) WHERE ref <> '';

CREATE TABLE audit (
  tenant TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  subject TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  decision TEXT NOT NULL,
  args_hash TEXT NOT NULL,
  prev BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (tenant, seq)) WITHOUT ROWID;
CREATE TABLE audit_heads (
  tenant TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL) WITHOUT ROWID;
