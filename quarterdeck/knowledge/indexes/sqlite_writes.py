"""What changes the embedded index. Each function is called inside a transaction."""

from __future__ import annotations

import json
import math
import sqlite3
from array import array
from collections.abc import Collection, Mapping, Sequence

from quarterdeck.core.errors import NotFound
from quarterdeck.knowledge.analyze import presplit
from quarterdeck.knowledge.base import Chunk, Document, Vector
from quarterdeck.knowledge.indexes.passages import Numbers, digest, overtaken

__all__ = ["delete", "replace", "set_groups", "to_json"]

_STANDING = """
SELECT document.next, document.edition, edition.sha256
FROM document JOIN edition ON edition.tenant = :tenant AND edition.doc = :doc AND edition.n = document.edition
WHERE document.tenant = :tenant AND document.id = :doc
"""
_FORMER = "SELECT next, edition, NULL FROM former WHERE tenant = :tenant AND doc_sha256 = :sha256"
_KEEP_NUMBERS = """
INSERT OR REPLACE INTO former(tenant, doc_sha256, edition, next)
SELECT tenant, :sha256, edition, next FROM document WHERE tenant = :tenant AND id = :doc
"""
_OLD_PASSAGES = "SELECT n, text FROM passage WHERE tenant = :tenant AND doc = :doc ORDER BY start"
_OF_DOCUMENT = "(SELECT id FROM passage WHERE tenant = :tenant AND doc = :doc)"
_CLEAR = (
    f"DELETE FROM fts WHERE rowid IN {_OF_DOCUMENT}",  # noqa: S608 - a constant of this file
    f"DELETE FROM vector WHERE passage IN {_OF_DOCUMENT}",  # noqa: S608
)
_DELETE_ACL = f"DELETE FROM acl WHERE tenant = :tenant AND passage IN {_OF_DOCUMENT}"  # noqa: S608
_DELETE_PASSAGES = "DELETE FROM passage WHERE tenant = :tenant AND doc = :doc"
_DELETE_DOCUMENT = "DELETE FROM document WHERE tenant = :tenant AND id = :doc"
_DELETE_EDITIONS = "DELETE FROM edition WHERE tenant = :tenant AND doc = :doc"
_PUT_DOCUMENT = """
INSERT INTO document(tenant, id, edition, uri, trusted, groups, meta, next)
VALUES(:tenant, :doc, :edition, :uri, :trusted, :groups, :meta, :next)
ON CONFLICT(tenant, id) DO UPDATE SET edition = :edition, uri = :uri, trusted = :trusted, groups = :groups, meta = :meta,
  next = :next
"""
# Given the same text again, an edition keeps its instant.
_PUT_EDITION = """
INSERT INTO edition(tenant, doc, n, title, text, sha256, characters, stored_at)
VALUES(:tenant, :doc, :edition, :title, :text, :sha256, :characters, :at)
ON CONFLICT(tenant, doc, n) DO UPDATE SET title = :title
"""
_INSERT_PASSAGE = """
INSERT INTO passage(tenant, doc, n, text, heading, start, end)
VALUES(:tenant, :doc, :n, :text, :heading, :start, :end)
"""
_INSERT_FTS = "INSERT INTO fts(rowid, title, body) VALUES(:id, :title, :body)"
_INSERT_VECTOR = "INSERT INTO vector(passage, unit) VALUES(:id, :unit)"
_INSERT_ACL = """
INSERT INTO acl(tenant, grp, passage)
SELECT :tenant, allowed.value, passage.id FROM passage JOIN json_each(:groups) AS allowed
WHERE passage.tenant = :tenant AND passage.doc = :doc
"""
_SET_GROUPS = "UPDATE document SET groups = :groups WHERE tenant = :tenant AND id = :doc"
_GENERATION = "SELECT generation FROM tenant WHERE tenant = :tenant"
_CHANGED = """
INSERT INTO tenant(tenant, documents, passages, generation) VALUES(:tenant, :documents, :passages, 1)
ON CONFLICT(tenant) DO UPDATE SET documents = documents + :documents, passages = passages + :passages,
  generation = generation + 1
"""


def to_json(groups: Collection[str]) -> str:
    """Groups as one parameter of a statement."""
    return json.dumps(sorted(groups), ensure_ascii=False)


def replace(
    db: sqlite3.Connection,
    document: Document,
    chunks: Sequence[Chunk],
    vectors: Sequence[Vector | None],
    at: int,
    generation: int | None = None,
) -> None:
    """Put a document with its passages in the place of what stood there.

    Args:
        at: The present instant, microseconds since 1970.
        generation: What the tenant's must be, None for any. Raises Conflict.
    """
    _check_generation(db, document.tenant, generation)
    key = {"tenant": document.tenant, "doc": document.id}
    sha256 = digest(document.text)
    standing = db.execute(_STANDING, key).fetchone()
    numbered = standing or db.execute(_FORMER, {**key, "sha256": digest(document.id)}).fetchone()
    following, edition, former = numbered or (1, 0, None)
    old = db.execute(_OLD_PASSAGES, key).fetchall()
    numbers = Numbers.after(old, following)
    _clear(db, key)
    # Passages refer to their document only by name, so it can be written last, when its next number is known.
    for chunk, vector in zip(chunks, vectors or [None] * len(chunks), strict=True):
        _insert(db, key, document.title, chunk, numbers.give(chunk.text), vector)
    values = {
        **key,
        "title": document.title,
        "text": document.text,
        "sha256": sha256,
        "characters": len(document.text),
        "edition": edition if sha256 == former else edition + 1,
        "at": at,
        "uri": document.uri,
        "trusted": document.trusted,
        "groups": to_json(document.groups),
        "meta": json.dumps(dict(document.meta), ensure_ascii=False),
        "next": numbers.next,
    }
    db.execute(_PUT_DOCUMENT, values)
    db.execute(_PUT_EDITION, values)
    db.execute(_INSERT_ACL, values)
    _count(db, document.tenant, documents=0 if standing else 1, passages=len(chunks) - len(old))


def delete(db: sqlite3.Connection, tenant: str, doc_ids: Sequence[str], generation: int | None = None) -> int:
    """Forget documents with all their editions; returns how many there were. `generation` as in `replace`."""
    _check_generation(db, tenant, generation)
    documents = passages = 0
    for doc_id in doc_ids:
        key = {"tenant": tenant, "doc": doc_id}
        passages += _clear(db, key)
        db.execute(_KEEP_NUMBERS, {**key, "sha256": digest(doc_id)})
        documents += db.execute(_DELETE_DOCUMENT, key).rowcount
        db.execute(_DELETE_EDITIONS, key)
    if documents:
        _count(db, tenant, documents=-documents, passages=-passages)
    return documents


def set_groups(db: sqlite3.Connection, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
    """Change who may read a document. Raises NotFound."""
    values = {"tenant": tenant, "doc": doc_id, "groups": to_json(groups)}
    if not db.execute(_SET_GROUPS, values).rowcount:
        raise NotFound(f"no document {doc_id!r}")
    db.execute(_DELETE_ACL, {"tenant": tenant, "doc": doc_id})
    db.execute(_INSERT_ACL, values)
    _count(db, tenant, documents=0, passages=0)


def _check_generation(db: sqlite3.Connection, tenant: str, generation: int | None) -> None:
    if generation is None:
        return
    row = db.execute(_GENERATION, {"tenant": tenant}).fetchone()
    if (row[0] if row else 0) != generation:
        raise overtaken(generation)


def _clear(db: sqlite3.Connection, key: Mapping[str, str]) -> int:
    """Forget the passages of a document; returns how many there were."""
    for statement in (*_CLEAR, _DELETE_ACL):
        db.execute(statement, key)
    return db.execute(_DELETE_PASSAGES, key).rowcount


def _insert(
    db: sqlite3.Connection, key: Mapping[str, str], title: str, chunk: Chunk, number: int, vector: Vector | None
) -> None:
    heading = json.dumps(chunk.heading_path, ensure_ascii=False)
    span = {"n": number, "text": chunk.text, "heading": heading, "start": chunk.start, "end": chunk.end}
    passage = db.execute(_INSERT_PASSAGE, {**key, **span}).lastrowid
    titles = presplit(" ".join((title, *chunk.heading_path)))
    db.execute(_INSERT_FTS, {"id": passage, "title": titles, "body": presplit(chunk.text)})
    if vector is not None:
        db.execute(_INSERT_VECTOR, {"id": passage, "unit": _unit(vector)})


def _unit(vector: Vector) -> bytes:
    length = math.sqrt(math.fsum(number * number for number in vector))
    return array("f", (number / length for number in vector)).tobytes()


def _count(db: sqlite3.Connection, tenant: str, *, documents: int, passages: int) -> None:
    db.execute(_CHANGED, {"tenant": tenant, "documents": documents, "passages": passages})
