REVOKE SELECT (id, wake_at) ON records FROM quarterdeck_dispatch;
DROP INDEX records_due;
ALTER TABLE records DROP COLUMN wake_at;
