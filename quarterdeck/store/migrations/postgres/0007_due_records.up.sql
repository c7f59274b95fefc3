ALTER TABLE records ADD COLUMN wake_at timestamptz;  -- when it is due to be looked at, by nobody if null
CREATE INDEX records_due ON records (kind, wake_at) WHERE wake_at IS NOT NULL;
-- Which are due is looked for across tenants; what they say is read as their tenant.
GRANT SELECT (id, wake_at) ON records TO quarterdeck_dispatch;
