-- Two roles that nobody logs in as; connections take them on with SET ROLE, so that even an owner's or a superuser's login
-- works under the policies below. Roles belong to the whole server: another database of it may have made them already.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['quarterdeck_app', 'quarterdeck_dispatch'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
    BEGIN
      EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;  -- an administrator made the roles and says who may take them on; whoever may not is told when it connects
    END;
  END LOOP;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO quarterdeck_app, quarterdeck_dispatch', current_schema());
END $$;
GRANT SELECT ON schema_versions TO quarterdeck_app;

-- Text is compared byte by byte (collation C): faster, and the same order in every engine and installation.
CREATE TABLE runs (
  tenant text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  no bigint GENERATED ALWAYS AS IDENTITY,  -- rises with each run; short, so events refer to it
  agent text NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  session_id text COLLATE "C",
  config bytea,                            -- SHA-256 of the agent's declaration: keeps that blob alive
  status text COLLATE "C" NOT NULL,        -- ready running waiting paused | done failed cancelled
  code text COLLATE "C",                   -- of the error a failed run ended with
  head integer NOT NULL,                   -- seq of the last event
  epoch integer NOT NULL,                  -- + 1 at each claim: the fence
  attempts integer NOT NULL,               -- + 1 at each claim, 0 at each append of a worker
  folded_upto integer NOT NULL DEFAULT 0,  -- what the newest folded state covers, and the seq it is stored at
  folded_seq integer NOT NULL DEFAULT 0,
  wake_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 80);                  -- an append changes no index, so the new row fits beside the old one
CREATE UNIQUE INDEX runs_no ON runs (tenant, no);
CREATE INDEX runs_user ON runs (tenant, user_id, no);
CREATE INDEX runs_session ON runs (tenant, session_id, no) WHERE session_id IS NOT NULL;
CREATE INDEX runs_code ON runs (tenant, code, no) WHERE code IS NOT NULL;
-- The only index without the tenant: what wants a worker is asked for across all of them, and only by quarterdeck_dispatch.
CREATE INDEX runs_open ON runs (status, wake_at) WHERE status IN ('ready', 'running', 'waiting');

-- `data` is text, not jsonb: events of kinds this program does not know come back to the letter, and nothing parses them
-- here. No foreign key: events are written and deleted only together with their run's row, under its lock.
CREATE TABLE events (
  tenant text COLLATE "C" NOT NULL,
  run bigint NOT NULL,                     -- runs.no
  seq integer NOT NULL,
  at timestamptz NOT NULL,
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  data text NOT NULL,                      -- JSON, or {"$blob": sha256}
  blob bytea,                              -- SHA-256 of the blob that holds the data, if one does
  PRIMARY KEY (tenant, run, seq));
CREATE UNIQUE INDEX events_key ON events (tenant, run, key) WHERE key IS NOT NULL;
CREATE INDEX events_blob ON events (tenant, blob) WHERE blob IS NOT NULL;

CREATE TABLE blobs (
  tenant text COLLATE "C" NOT NULL,
  sha256 bytea NOT NULL,
  bytes bytea NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, sha256));

ALTER TABLE runs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE blobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON runs TO quarterdeck_app USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
CREATE POLICY of_tenant ON events TO quarterdeck_app USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
CREATE POLICY of_tenant ON blobs TO quarterdeck_app USING (tenant = nullif(current_setting('quarterdeck.tenant', true), ''));
CREATE POLICY of_all ON runs FOR SELECT TO quarterdeck_dispatch USING (true);
CREATE POLICY of_all ON blobs FOR SELECT TO quarterdeck_dispatch USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON runs, blobs TO quarterdeck_app;
GRANT SELECT, INSERT, DELETE ON events TO quarterdeck_app;
-- What wants a worker, and where there is something to clear away; never whose it is or what it says.
GRANT SELECT (tenant, run_id, no, status, head, wake_at, updated_at) ON runs TO quarterdeck_dispatch;
GRANT SELECT (tenant, created_at) ON blobs TO quarterdeck_dispatch;
