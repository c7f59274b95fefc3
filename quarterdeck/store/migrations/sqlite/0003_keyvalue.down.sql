DROP TABLE keyvalue;
