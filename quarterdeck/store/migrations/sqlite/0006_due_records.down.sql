DROP INDEX records_due;
ALTER TABLE records DROP COLUMN wake_at;
