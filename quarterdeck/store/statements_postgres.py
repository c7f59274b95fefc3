# ruff: noqa: S608 - statements are put together from constants of this file only
"""The journal's statements for Postgres. Each is one round trip; `%(now)s` is None for the database's own clock.

A statement sees what was committed when it began, but the row of `runs` that it updates as it is once its lock is had. So
nothing but that row decides what is written: a key that was taken while it waited is refused by the index `events_key`, and
the whole statement is run again.
"""

from __future__ import annotations

from collections.abc import Iterable

_NOW = "coalesce(%(now)s::timestamptz, now())"
_ENDED = "('done', 'failed', 'cancelled')"
_RUN = "tenant = %(tenant)s AND run_id = %(run)s"

_GIVEN = "unnest(%(kinds)b::text[], %(keys)b::text[], %(data)b::text[]) WITH ORDINALITY AS e (kind, key, data, i)"
_GIVEN_LARGE = """unnest(%(kinds)b::text[], %(keys)b::text[], %(data)b::text[], %(blobs)b::bytea[])
  WITH ORDINALITY AS e (kind, key, data, blob, i)"""

# Entries whose key the run does not have, numbered without a gap.
_KEPT = f"""kept AS MATERIALIZED (
  SELECT e.*, row_number() OVER (ORDER BY e.i)::int AS n FROM {{given}}
  WHERE e.key IS NULL OR NOT EXISTS (
    SELECT FROM events x WHERE x.tenant = %(tenant)s AND x.key = e.key AND x.run = (SELECT no FROM runs WHERE {_RUN})))"""
_STORED = """stored AS (
  INSERT INTO events (tenant, run, seq, at, kind, key, data)
  SELECT %(tenant)s, run.no, run.head - (SELECT count(*) FROM kept) + kept.n, run.at, kept.kind, kept.key, kept.data
  FROM run, kept)"""
_STORED_LARGE = """stored AS (
  INSERT INTO events (tenant, run, seq, at, kind, key, data, blob)
  SELECT %(tenant)s, run.no, run.head - (SELECT count(*) FROM kept) + kept.n, run.at, kept.kind, kept.key, kept.data,
    kept.blob FROM run, kept),
blobbed AS (
  INSERT INTO blobs (tenant, sha256, bytes, created_at)
  SELECT %(tenant)s, b.sha256, b.bytes, run.at
  FROM run, unnest(%(shas)b::bytea[], %(payloads)b::bytea[]) AS b (sha256, bytes) ORDER BY b.sha256
  ON CONFLICT (tenant, sha256) DO UPDATE SET created_at = excluded.created_at
  WHERE blobs.created_at < excluded.created_at - interval '30 minutes')"""
_WRITTEN = "SELECT run.head, run.at, ARRAY(SELECT (i - 1)::int FROM kept ORDER BY i) FROM run"
_FOLD = """,
    folded_upto = coalesce((SELECT %(fold_upto)s::int FROM kept WHERE kept.i = %(fold_place)s::int), folded_upto),
    folded_seq = coalesce((SELECT runs.head + kept.n FROM kept WHERE kept.i = %(fold_place)s::int), folded_seq)"""

# An ended run stays ended; one that would rest over events its worker has not folded is ready instead.
_THEN = f"""CASE WHEN %(status)s::text IS NULL OR status IN {_ENDED} THEN status
      WHEN head <> %(folded)s AND %(status)s::text IN ('waiting', 'paused') THEN 'ready' ELSE %(status)s::text END"""


def _append(given: str, stored: str, fold: str) -> str:
    return f"""WITH {_KEPT.format(given=given)},
run AS (
  UPDATE runs SET head = head + (SELECT count(*) FROM kept)::int, attempts = 0, updated_at = {_NOW}, status = {_THEN},
    wake_at = CASE WHEN {_THEN} = coalesce(%(status)s::text, status) THEN %(wake_at)s::timestamptz END,
    code = CASE WHEN status NOT IN {_ENDED} AND %(status)s::text = 'failed' THEN %(code)s::text ELSE code END{fold}
  WHERE {_RUN} AND epoch = %(epoch)s AND NOT (head <> %(folded)s AND %(status)s::text IS NOT DISTINCT FROM 'done')
  RETURNING no, head, updated_at AS at),
{stored}
{_WRITTEN}"""


def _post(given: str, stored: str, fold: str) -> str:
    woken = "(status IN ('waiting', 'failed') OR status = 'paused' AND %(resumes)s::bool)"
    # A running run's own instant is its worker's: a dead one must be noticed.
    return f"""WITH {_KEPT.format(given=given)},
run AS (
  UPDATE runs SET head = head + 1, status = CASE WHEN {woken} THEN 'ready' ELSE status END,
    wake_at = CASE WHEN {woken} THEN NULL ELSE wake_at END, updated_at = CASE WHEN {woken} THEN {_NOW} ELSE updated_at END,
    attempts = CASE WHEN status = 'failed' THEN 0 ELSE attempts END, code = NULL{fold}
  WHERE {_RUN} AND EXISTS (SELECT FROM kept)
    AND CASE WHEN %(retries)s::bool THEN status = 'failed' ELSE status NOT IN {_ENDED} END
  RETURNING no, head, {_NOW} AS at),
{stored}
{_WRITTEN}"""


def _create(given: str, stored: str, fold: str) -> str:
    columns, values = ("", "") if not fold else (", folded_upto, folded_seq", _NEW_FOLD)
    return f"""WITH kept AS MATERIALIZED (SELECT e.*, e.i::int AS n FROM {given}),
run AS (
  INSERT INTO runs (tenant, run_id, agent, user_id, session_id, request_id, config, status, head, epoch,
    attempts, created_at, updated_at{columns})
  VALUES (%(tenant)s, %(run)s, %(agent)s, %(user)s, %(session)s, %(request)s, %(config)s, 'ready',
    (SELECT count(*) FROM kept), 0, 0, {_NOW}, {_NOW}{values})
  ON CONFLICT (tenant, run_id) DO NOTHING
  RETURNING no, head, created_at AS at),
{stored}
{_WRITTEN}"""


_NEW_FOLD = ", coalesce(%(fold_upto)s::int, 0), coalesce(%(fold_place)s::int, 0)"

APPEND = _append(_GIVEN, _STORED, "")
APPEND_LARGE = _append(_GIVEN_LARGE, _STORED_LARGE, _FOLD)
POST = _post(_GIVEN, _STORED, "")
POST_LARGE = _post(_GIVEN_LARGE, _STORED_LARGE, _FOLD)
CREATE = _create(_GIVEN, _STORED, "")
CREATE_LARGE = _create(_GIVEN_LARGE, _STORED_LARGE, _FOLD)

STANDING = f"SELECT epoch, head FROM runs WHERE {_RUN}"

_EVENT = "e.seq, e.kind, e.key, e.at, e.data, b.bytes"
_BLOB = "LEFT JOIN blobs b ON b.tenant = e.tenant AND b.sha256 = e.blob"
# The newest folded state first, then what it does not cover.
CLAIM = f"""WITH run AS (
  UPDATE runs SET status = 'running', epoch = epoch + 1, attempts = attempts + 1, wake_at = NULL, updated_at = {_NOW}
  WHERE {_RUN} AND status IN ('ready', 'running', 'waiting') AND (attempts < %(below)s::int OR %(below)s::int IS NULL)
  RETURNING tenant, no, head, epoch, attempts, folded_upto, folded_seq)
SELECT run.head, run.epoch, run.attempts, run.folded_upto, run.folded_seq, {_EVENT}
FROM run JOIN events e ON e.tenant = run.tenant AND e.run = run.no AND e.seq > run.folded_upto {_BLOB}
ORDER BY (e.seq = run.folded_seq) DESC, e.seq"""
CLAIMED = f"""SELECT {_EVENT}
FROM runs r JOIN events e ON e.tenant = r.tenant AND e.run = r.no AND e.seq > %(upto)s AND e.seq <= %(head)s {_BLOB}
WHERE r.tenant = %(tenant)s AND r.run_id = %(run)s ORDER BY (e.seq = %(seq)s) DESC, e.seq"""
READ = f"""SELECT {_EVENT}
FROM runs r JOIN events e ON e.tenant = r.tenant AND e.run = r.no AND e.seq > %(after)s {_BLOB}
WHERE r.tenant = %(tenant)s AND r.run_id = %(run)s ORDER BY e.seq LIMIT %(limit)s"""

_ROWS = """SELECT run_id, tenant, agent, user_id, session_id, status, head, attempts, wake_at, created_at, updated_at, code
FROM runs WHERE tenant = %(tenant)s"""
FIND = _ROWS + " AND run_id = %(run)s"
_FILTERS = {
    "status": " AND status = %(status)s",
    "user": " AND user_id = %(user)s",
    "session_id": " AND session_id = %(session_id)s",
    "request_id": " AND request_id = %(request_id)s",
    "code": " AND code = %(code)s",
    "before": " AND no < (SELECT no FROM runs WHERE tenant = %(tenant)s AND run_id = %(before)s)",
}


def runs(filters: Iterable[str]) -> str:
    """The statement that lists runs by these: only what is asked for is in it, so that its index is found."""
    return _ROWS + "".join(_FILTERS[name] for name in filters) + " ORDER BY no DESC LIMIT %(limit)s"


DUE = f"""SELECT tenant, run_id FROM (
  (SELECT tenant, run_id, 0 AS part, NULL::timestamptz AS since, no FROM runs WHERE status = 'ready'
    ORDER BY no LIMIT %(limit)s)
  UNION ALL (SELECT tenant, run_id, 1, wake_at, no FROM runs WHERE status = 'waiting' AND wake_at <= {_NOW}
    ORDER BY wake_at, no LIMIT %(limit)s)
  UNION ALL (SELECT tenant, run_id, 2, updated_at, no FROM runs
    WHERE status = 'running' AND %(stalled)s > 0 AND updated_at <= {_NOW} - make_interval(secs => %(stalled)s)
    ORDER BY updated_at, no LIMIT %(limit)s)) AS due
ORDER BY part, since, no"""
HEADS = """SELECT r.tenant, r.run_id, r.head, r.status
FROM unnest(%(tenants)s::text[], %(runs)s::text[]) AS wanted (tenant, run_id) JOIN runs r USING (tenant, run_id)"""

PUT_BLOB = f"""INSERT INTO blobs (tenant, sha256, bytes, created_at) VALUES (%(tenant)s, %(sha256)s, %(bytes)s, {_NOW})
ON CONFLICT (tenant, sha256) DO UPDATE SET created_at = excluded.created_at
WHERE blobs.created_at < excluded.created_at - interval '30 minutes'"""
GET_BLOB = "SELECT bytes FROM blobs WHERE tenant = %(tenant)s AND sha256 = %(sha256)s"

OLD = f"""SELECT tenant, no FROM runs
WHERE (tenant, no) > (%(tenant)s, %(no)s) AND status IN {_ENDED} AND updated_at < %(before)s
ORDER BY tenant, no LIMIT %(limit)s"""
# Asked again under the lock: somebody may have had a failed one tried again.
DELETE = f"""WITH gone AS (
  DELETE FROM runs WHERE tenant = %(tenant)s AND no = ANY(%(numbers)s::bigint[]) AND status IN {_ENDED}
  AND updated_at < %(before)s RETURNING no, run_id),
emptied AS (DELETE FROM events USING gone WHERE tenant = %(tenant)s AND run = gone.no),
orphaned AS (DELETE FROM records USING gone WHERE tenant = %(tenant)s AND ref = gone.run_id AND ref <> '')
SELECT count(*) FROM gone"""

_STALE = f"created_at < least(%(before)s, {_NOW} - %(grace)s::interval)"
BLOB_TENANTS = f"SELECT DISTINCT tenant FROM blobs WHERE {_STALE}"
SWEEP_BLOBS = f"""DELETE FROM blobs WHERE tenant = %(tenant)s AND {_STALE}
AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant = %(tenant)s AND r.config = blobs.sha256)
AND NOT EXISTS (SELECT FROM events e WHERE e.tenant = %(tenant)s AND e.blob = blobs.sha256)"""
