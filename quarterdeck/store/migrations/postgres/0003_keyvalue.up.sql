CREATE TABLE keyvalue (
  tenant text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  bytes bytea NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, key));
ALTER TABLE keyvalue ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON keyvalue TO quarterdeck_app
  USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON keyvalue TO quarterdeck_app;
