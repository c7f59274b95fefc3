DROP TABLE blobs;
DROP TABLE events;
DROP TABLE runs;
DO $$
BEGIN
  REVOKE ALL ON schema_versions FROM quarterdeck_app;
  EXECUTE format('REVOKE ALL ON SCHEMA %I FROM quarterdeck_app, quarterdeck_dispatch', current_schema());
  BEGIN
    DROP ROLE quarterdeck_app, quarterdeck_dispatch;
  EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;  -- another database of this server uses them
  END;
END $$;
