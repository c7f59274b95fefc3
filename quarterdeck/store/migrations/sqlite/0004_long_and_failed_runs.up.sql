ALTER TABLE runs ADD COLUMN code TEXT;                          -- of the error a failed run ended with
ALTER TABLE runs ADD COLUMN folded_upto INTEGER NOT NULL DEFAULT 0;  -- what the newest folded state covers
ALTER TABLE runs ADD COLUMN folded_seq INTEGER NOT NULL DEFAULT 0;   -- and the seq it is stored at
CREATE INDEX runs_code ON runs (tenant, code) WHERE code IS NOT NULL;
