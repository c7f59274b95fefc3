DROP TABLE schema_parts;
