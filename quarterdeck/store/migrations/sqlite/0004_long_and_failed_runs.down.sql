DROP INDEX runs_code;
ALTER TABLE runs DROP COLUMN folded_seq;
ALTER TABLE runs DROP COLUMN folded_upto;
ALTER TABLE runs DROP COLUMN code;
