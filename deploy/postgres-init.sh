#!/bin/sh
# Runs once, in a new data folder: a login that owns its database and may make roles, as the migrations do, and no superuser.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set "password=$QUARTERDECK_PASSWORD" <<'SQL'
CREATE ROLE quarterdeck LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE quarterdeck OWNER quarterdeck;
SQL
