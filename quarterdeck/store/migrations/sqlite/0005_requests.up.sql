-- A request is looked for by the id its caller was told; a batch is one request and many runs.
ALTER TABLE runs ADD COLUMN request_id TEXT;
CREATE INDEX runs_request ON runs (tenant, request_id) WHERE request_id IS NOT NULL;
