DROP TABLE blobs;
DROP TABLE events;
DROP TABLE runs;
