-- With the list goes what it lists: tables of a queue that nobody wrote down would be taken for another program's. What stood
-- in the queue were hints; the runs say what has to be done.
DO $$
DECLARE
  command text;
BEGIN
  IF EXISTS (SELECT FROM schema_parts WHERE part = 'procrastinate') THEN
    FOR command IN
      SELECT format('DROP TABLE %s CASCADE', c.oid::regclass) FROM pg_class c
      WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'procrastinate\_%'
      UNION ALL SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', p.oid::regprocedure) FROM pg_proc p
      WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'procrastinate\_%'
      UNION ALL SELECT format('DROP TYPE IF EXISTS %s CASCADE', t.oid::regtype) FROM pg_type t
      LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.typnamespace = current_schema()::regnamespace AND (t.typtype = 'e' OR c.relkind = 'c')
        AND t.typname LIKE 'procrastinate\_%'
    LOOP
      EXECUTE command;
    END LOOP;
  END IF;
END $$;
DROP TABLE schema_parts;
