DROP INDEX runs_request;
ALTER TABLE runs DROP COLUMN request_id;
