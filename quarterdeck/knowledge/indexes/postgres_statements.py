# ruff: noqa: S608 - statements are put together from constants of this file only
"""The statements of the index in Postgres. Each that reads sees it as it is before a change or after, never half."""

from __future__ import annotations

from typing import LiteralString

# Every statement finds its rows by an index that was made for it. Until Postgres has looked at what an ingestion brought, it
# takes the tables for small, and reads them whole: a search by vector among 100,000 took 1,300 CPU ms instead of 7.
BY_INDEX: LiteralString = """SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
SET enable_hashjoin = off; SET enable_mergejoin = off"""

_TENANT = "tenant = %(tenant)s"
_MATCHING = """NOT EXISTS (
  SELECT FROM jsonb_each(%(where)s::jsonb) AS wanted WHERE NOT coalesce(wanted.value ? (d.meta ->> wanted.key), false))"""


def _where(of: str) -> str:
    # Behind OR, a subquery is asked once and kept as a table of hashes, and only if there is anything to ask.
    return f"""(%(where)s::jsonb = '{{}}' OR {of}.doc IN (
  SELECT d.id FROM quarterdeck_knowledge.document AS d WHERE d.{_TENANT} AND {_MATCHING}))"""


_PASSAGE_COLUMNS = "p.doc, p.n, p.text, p.heading, p.start, p.stop, e.n, e.title, d.uri, d.trusted, d.groups"
_OF_PASSAGE = f"""JOIN quarterdeck_knowledge.document AS d ON d.{_TENANT} AND d.id = p.doc
JOIN quarterdeck_knowledge.edition AS e ON e.{_TENANT} AND e.doc = p.doc AND e.n = d.edition"""

# BM25 as SQLite has it: k1 1.2, b 0.75, a word of the title counted twice. Only the tenant's own passages are counted.
# A term of most passages is left out where looking it up is dear, unless there is no other.
KEYWORD = f"""WITH asked AS MATERIALIZED (
  SELECT DISTINCT coalesce((ts_lexize('pg_catalog.english_stem', word))[1], word) COLLATE "C" AS term
  FROM unnest(%(words)s::text[]) AS word),
size AS MATERIALIZED (
  SELECT passages, terms::float8 / greatest(passages, 1) AS average,
    greatest(%(common_from)s::bigint, (%(common_share)s::float8 * passages)::bigint) AS most
  FROM quarterdeck_knowledge.tenant WHERE {_TENANT}),
counted AS MATERIALIZED (
  SELECT asked.term, found.often FROM asked, size, LATERAL (
    SELECT count(*) AS often FROM (
      SELECT FROM quarterdeck_knowledge.post WHERE post.{_TENANT} AND post.term = asked.term LIMIT size.most + 1) AS one
  ) AS found WHERE found.often > 0),
telling AS MATERIALIZED (
  SELECT term, ln(1 + (size.passages - often + 0.5) / (often + 0.5)) AS weight FROM counted, size
  WHERE often <= size.most OR NOT EXISTS (SELECT FROM counted AS other WHERE other.often <= size.most)),
hit AS MATERIALIZED (
  SELECT post.passage, sum(
    telling.weight * post.often * 2.2 / (post.often + 1.2 * (0.25 + 0.75 * post.terms / size.average))) AS score
  FROM telling JOIN quarterdeck_knowledge.post ON post.{_TENANT} AND post.term = telling.term, size
  GROUP BY post.passage),
best AS MATERIALIZED (
  SELECT p.id, hit.score FROM hit JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.id = hit.passage
  WHERE p.groups && %(groups)s::text[] AND {_where("p")}
  ORDER BY hit.score DESC, p.id LIMIT %(k)s)
SELECT best.score, {_PASSAGE_COLUMNS}
FROM best JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.id = best.id
{_OF_PASSAGE} ORDER BY best.score DESC, best.id"""

# With the usual settings a filter that hides much leaves too few, without a word (recall 0.05 where 1 % are visible).
NEAREST_SETTINGS = """SELECT set_config('hnsw.ef_search', %(effort)s, true),
  set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.max_scan_tuples', '100000', true)"""
VISIBLE = f"""SELECT coalesce(sum(passages), 0) FROM (
  SELECT passages FROM quarterdeck_knowledge.reader WHERE {_TENANT} AND grp = ANY(%(groups)s::text[]) LIMIT %(most)s) AS r"""


def _nearest(readable: str, order: str) -> str:
    return f"""WITH best AS MATERIALIZED (
  SELECT v.passage, v.numbers <=> %(vector)s::vector AS distance FROM quarterdeck_knowledge.vector AS v
  WHERE v.{_TENANT} AND {readable} AND {_where("v")} ORDER BY {order} LIMIT %(k)s)
SELECT 1 - best.distance, {_PASSAGE_COLUMNS}
FROM best JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.id = best.passage
{_OF_PASSAGE} ORDER BY best.distance, p.id"""


NEAREST = _nearest("v.groups && %(groups)s::text[]", "v.numbers <=> %(vector)s::vector")
# The sum keeps the planner from the index, which is made for many visible passages.
NEAREST_OF_FEW = _nearest(
    f"""v.doc IN (
    SELECT r.doc FROM quarterdeck_knowledge.reader AS r WHERE r.{_TENANT} AND r.grp = ANY(%(groups)s::text[]))""",
    "(v.numbers <=> %(vector)s::vector) + 0",
)

PASSAGES = f"""SELECT {_PASSAGE_COLUMNS} FROM unnest(%(docs)s::text[], %(numbers)s::int[]) AS asked (doc, n)
JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.doc = asked.doc AND p.n = asked.n {_OF_PASSAGE}
WHERE p.groups && %(groups)s::text[]"""

_DOCUMENT_COLUMNS = "d.id, e.title, d.uri, d.trusted, d.groups, d.meta, e.n, e.stored_at"
_READABLE = f"d.{_TENANT} AND d.groups && %(groups)s::text[]"
DOCUMENT = f"""SELECT {_DOCUMENT_COLUMNS}, e.text FROM quarterdeck_knowledge.document AS d
JOIN quarterdeck_knowledge.edition AS e
  ON e.{_TENANT} AND e.doc = d.id AND e.n = coalesce(%(edition)s::int, d.edition)
WHERE {_READABLE} AND d.id = %(doc)s"""
DOCUMENTS = f"""SELECT {_DOCUMENT_COLUMNS}, '' FROM quarterdeck_knowledge.document AS d
JOIN quarterdeck_knowledge.edition AS e ON e.{_TENANT} AND e.doc = d.id AND e.n = d.edition
WHERE {_READABLE} AND d.id > %(after)s ORDER BY d.id LIMIT %(limit)s"""
ADMITTED = f"""SELECT d.id FROM quarterdeck_knowledge.document AS d
WHERE {_READABLE} AND d.id = ANY(%(docs)s::text[])"""
EDITIONS = f"""SELECT e.n, e.title, e.sha256, e.characters, e.stored_at FROM quarterdeck_knowledge.document AS d
JOIN quarterdeck_knowledge.edition AS e ON e.{_TENANT} AND e.doc = d.id
WHERE {_READABLE} AND d.id = %(doc)s ORDER BY e.n DESC"""
CATALOGUE = f"SELECT id, meta FROM quarterdeck_knowledge.document WHERE {_TENANT} ORDER BY id"
STATS = f"SELECT documents, passages, generation FROM quarterdeck_knowledge.tenant WHERE {_TENANT}"

# Every change begins with this, so changes of a tenant happen one after the other.
CHANGE = """INSERT INTO quarterdeck_knowledge.tenant AS t (tenant, documents, passages, terms, generation)
VALUES (%(tenant)s, 0, 0, 0, 1) ON CONFLICT (tenant) DO UPDATE SET generation = t.generation + 1
RETURNING generation"""
COUNT = f"""UPDATE quarterdeck_knowledge.tenant SET documents = documents + %(documents)s,
  passages = passages + %(passages)s, terms = terms + %(terms)s WHERE {_TENANT}"""

_HASHED = "encode(sha256(convert_to({}, 'UTF8')), 'hex')"
STANDING = f"""SELECT d.next, d.edition, e.sha256, true FROM quarterdeck_knowledge.document AS d
JOIN quarterdeck_knowledge.edition AS e ON e.{_TENANT} AND e.doc = d.id AND e.n = d.edition
WHERE d.{_TENANT} AND d.id = %(doc)s
UNION ALL SELECT f.next, f.edition, NULL, false FROM quarterdeck_knowledge.former AS f
WHERE f.{_TENANT} AND f.doc_sha256 = {_HASHED.format("%(doc)s::text")}
ORDER BY 4 DESC LIMIT 1"""
OLD_PASSAGES = (
    f"""SELECT n, text, terms FROM quarterdeck_knowledge.passage WHERE {_TENANT} AND doc = %(doc)s ORDER BY start"""
)
_OF_DOC = f"WHERE {_TENANT} AND doc = ANY(%(docs)s::text[])"
CLEAR_POSTS = f"""DELETE FROM quarterdeck_knowledge.post WHERE {_TENANT} AND passage IN (
  SELECT id FROM quarterdeck_knowledge.passage {_OF_DOC})"""
CLEAR_VECTORS = f"DELETE FROM quarterdeck_knowledge.vector {_OF_DOC}"
CLEAR_READERS = f"DELETE FROM quarterdeck_knowledge.reader {_OF_DOC}"
CLEAR_PASSAGES = f"""WITH gone AS (DELETE FROM quarterdeck_knowledge.passage {_OF_DOC} RETURNING terms)
SELECT count(*), coalesce(sum(terms), 0) FROM gone"""
KEEP_NUMBERS = f"""INSERT INTO quarterdeck_knowledge.former (tenant, doc_sha256, edition, next)
SELECT tenant, {_HASHED.format("id")}, edition, next FROM quarterdeck_knowledge.document
WHERE {_TENANT} AND id = ANY(%(docs)s::text[])
ON CONFLICT (tenant, doc_sha256) DO UPDATE SET edition = excluded.edition, next = excluded.next"""
DELETE_EDITIONS = f"DELETE FROM quarterdeck_knowledge.edition {_OF_DOC}"
DELETE_DOCUMENTS = f"DELETE FROM quarterdeck_knowledge.document WHERE {_TENANT} AND id = ANY(%(docs)s::text[]) RETURNING id"

PUT_DOCUMENT = """INSERT INTO quarterdeck_knowledge.document (tenant, id, edition, uri, trusted, groups, meta, next)
VALUES (%(tenant)s, %(doc)s, %(edition)s, %(uri)s, %(trusted)s, %(groups)s::text[], %(meta)s::jsonb, %(next)s)
ON CONFLICT (tenant, id) DO UPDATE SET edition = excluded.edition, uri = excluded.uri, trusted = excluded.trusted,
  groups = excluded.groups, meta = excluded.meta, next = excluded.next"""
# Given the same text again, an edition keeps its instant.
PUT_EDITION = """INSERT INTO quarterdeck_knowledge.edition (tenant, doc, n, title, text, sha256, characters, stored_at)
VALUES (%(tenant)s, %(doc)s, %(edition)s, %(title)s, %(text)s, %(sha256)s, %(characters)s, %(at)s)
ON CONFLICT (tenant, doc, n) DO UPDATE SET title = excluded.title"""
INSERT_READERS = """INSERT INTO quarterdeck_knowledge.reader (tenant, grp, doc, passages)
SELECT %(tenant)s, grp, %(doc)s, %(passages)s FROM unnest(%(groups)s::text[]) AS grp"""
INSERT_PASSAGES = """INSERT INTO quarterdeck_knowledge.passage (tenant, doc, n, heading, start, stop, terms, groups, text)
SELECT %(tenant)s, %(doc)s, u.n, u.heading, u.start, u.stop, u.terms, %(groups)s::text[], u.text
FROM unnest(%(numbers)s::int[], %(headings)s::text[], %(starts)s::int[], %(stops)s::int[], %(lengths)s::int[],
  %(texts)s::text[]) AS u (n, heading, start, stop, terms, text)"""
INSERT_POSTS = f"""INSERT INTO quarterdeck_knowledge.post (tenant, term, passage, often, terms)
SELECT %(tenant)s, coalesce((ts_lexize('pg_catalog.english_stem', u.word))[1], u.word) AS term, p.id, sum(u.often), p.terms
FROM unnest(%(words)s::text[], %(of)s::int[], %(often)s::real[]) AS u (word, n, often)
JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.doc = %(doc)s AND p.n = u.n GROUP BY 2, p.id, p.terms"""
INSERT_VECTORS = f"""INSERT INTO quarterdeck_knowledge.vector (tenant, passage, doc, groups, numbers)
SELECT %(tenant)s, p.id, %(doc)s, %(groups)s::text[], u.vector::vector
FROM unnest(%(numbers)s::int[], %(vectors)s::text[]) AS u (n, vector)
JOIN quarterdeck_knowledge.passage AS p ON p.{_TENANT} AND p.doc = %(doc)s AND p.n = u.n WHERE u.vector IS NOT NULL"""

SET_GROUPS = f"""UPDATE quarterdeck_knowledge.document SET groups = %(groups)s::text[] WHERE {_TENANT} AND id = %(doc)s
RETURNING (SELECT count(*)::int FROM quarterdeck_knowledge.passage AS p WHERE p.{_TENANT} AND p.doc = %(doc)s)"""
SET_PASSAGE_GROUPS = (
    f"UPDATE quarterdeck_knowledge.passage SET groups = %(groups)s::text[] WHERE {_TENANT} AND doc = %(doc)s"
)
SET_VECTOR_GROUPS = f"UPDATE quarterdeck_knowledge.vector SET groups = %(groups)s::text[] WHERE {_TENANT} AND doc = %(doc)s"
