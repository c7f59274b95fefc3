ALTER TABLE records ADD COLUMN wake_at INTEGER;  -- when it is due to be looked at, by nobody if null
CREATE INDEX records_due ON records (kind, wake_at) WHERE wake_at IS NOT NULL;
