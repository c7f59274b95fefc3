CREATE TABLE records (
  tenant text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  ref text COLLATE "C" NOT NULL,
  version integer NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  data text NOT NULL,                      -- JSON, read by nobody here
  PRIMARY KEY (tenant, kind, id)
) WITH (fillfactor = 80);
CREATE INDEX records_status ON records (tenant, kind, status, created_at, id) WHERE status <> '';
CREATE INDEX records_owner ON records (tenant, kind, owner, created_at, id) WHERE owner <> '';
CREATE INDEX records_ref ON records (tenant, ref) WHERE ref <> '';

CREATE TABLE audit (
  tenant text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  subject text NOT NULL,
  action text NOT NULL,
  object text NOT NULL,
  decision text NOT NULL,
  args_hash text NOT NULL,
  prev bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (tenant, seq));
CREATE TABLE audit_heads (
  tenant text COLLATE "C" PRIMARY KEY,
  seq bigint NOT NULL,
  hash bytea NOT NULL
) WITH (fillfactor = 20);                  -- one row per tenant, rewritten with every audit row

ALTER TABLE records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON records TO quarterdeck_app USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
CREATE POLICY of_tenant ON audit TO quarterdeck_app USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
CREATE POLICY of_tenant ON audit_heads TO quarterdeck_app
  USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON records TO quarterdeck_app;
GRANT SELECT, INSERT ON audit TO quarterdeck_app;  -- what was written down is never changed
GRANT SELECT, INSERT, UPDATE ON audit_heads TO quarterdeck_app;
