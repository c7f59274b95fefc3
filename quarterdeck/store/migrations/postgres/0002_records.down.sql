DROP TABLE audit_heads;
DROP TABLE audit;
DROP TABLE records;
