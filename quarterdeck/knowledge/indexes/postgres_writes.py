"""What changes the index in Postgres. Each function is one transaction, and may be run again from the beginning."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from quarterdeck.core.errors import NotFound
from quarterdeck.core.text import terms
from quarterdeck.knowledge.base import Chunk, Document, Space, Vector
from quarterdeck.knowledge.indexes import postgres_statements as sql
from quarterdeck.knowledge.indexes.passages import Numbers, digest, overtaken
from quarterdeck.store.postgres import PostgresConnection, together

__all__ = ["ask", "delete", "replace", "set_groups", "words", "written"]

_LONGEST = 250  # letters of a term that count: more than any word has, and what fits into an entry of an index
_TITLE_WEIGHT = 2
_PLANNED_ONCE = frozenset({sql.CHANGE, sql.PUT_DOCUMENT, sql.PUT_EDITION, sql.INSERT_READERS, sql.INSERT_PASSAGES})


async def ask(connection: PostgresConnection, statement: str, values: Mapping[str, Any]) -> psycopg.AsyncCursor[Any]:
    """Have one of the statements carried out."""
    # Bytes: made of constants, though it is no literal. Planned each time, but for those that look nothing up: a plan
    # that was kept from when the tables were small, or made for any values, is up to ten times as slow.
    return await connection.execute(statement.encode(), values, prepare=statement in _PLANNED_ONCE)


async def replace(
    connection: PostgresConnection,
    document: Document,
    chunks: Sequence[Chunk],
    vectors: Sequence[Vector | None],
    space: Space,
    at: datetime,
    generation: int | None = None,
) -> None:
    """Put a document with its passages in the place of what stood there.

    Args:
        at: The present instant.
        generation: What the tenant's must be, None for any. Raises Conflict.
    """
    key = {"tenant": document.tenant, "doc": document.id, "docs": [document.id], "groups": sorted(document.groups)}
    async with together(connection):
        await _begin(connection, key, generation)
        standing = await (await ask(connection, sql.STANDING, key)).fetchone()
        following, edition, former, stands = standing or (1, 0, None, False)
        old = await (await ask(connection, sql.OLD_PASSAGES, key)).fetchall() if stands else []
        numbers = Numbers.after([(number, text) for number, text, _ in old], following)
        given = [numbers.give(chunk.text) for chunk in chunks]
        if stands:  # there is nothing to clear of a new one, and asking costs a tenth of what storing does
            await _clear(connection, key, space)
        lengths = await _insert(connection, key, document.title, chunks, given)
        if any(vector is not None for vector in vectors):
            made = [None if vector is None else written(vector) for vector in vectors]
            await ask(connection, sql.INSERT_VECTORS, {**key, "numbers": given, "vectors": made})
        sha256 = digest(document.text)
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
            "meta": json.dumps(dict(document.meta)),
            "next": numbers.next,
            "documents": 0 if stands else 1,
            "passages": len(chunks),
        }
        for statement in (sql.PUT_DOCUMENT, sql.PUT_EDITION, sql.INSERT_READERS):
            await ask(connection, statement, values)
        more = {"passages": len(chunks) - len(old), "terms": sum(lengths) - sum(length for _, _, length in old)}
        await ask(connection, sql.COUNT, {**values, **more})


async def delete(
    connection: PostgresConnection, tenant: str, doc_ids: Sequence[str], space: Space, generation: int | None = None
) -> int:
    """Forget documents with all their editions; returns how many there were. `generation` as in `replace`."""
    key = {"tenant": tenant, "docs": list(doc_ids)}
    documents = 0
    async with together(connection):
        await _begin(connection, key, generation)
        passages, length = await _clear(connection, key, space)
        await ask(connection, sql.KEEP_NUMBERS, key)
        await ask(connection, sql.DELETE_EDITIONS, key)
        documents = len(await (await ask(connection, sql.DELETE_DOCUMENTS, key)).fetchall())
        if not documents:
            raise psycopg.Rollback
        await ask(connection, sql.COUNT, {**key, "documents": -documents, "passages": -passages, "terms": -length})
    return documents


async def set_groups(connection: PostgresConnection, tenant: str, doc_id: str, groups: frozenset[str], space: Space) -> None:
    """Change who may read a document. Raises NotFound."""
    values = {"tenant": tenant, "doc": doc_id, "docs": [doc_id], "groups": sorted(groups)}
    async with together(connection):
        await ask(connection, sql.CHANGE, values)
        found = await (await ask(connection, sql.SET_GROUPS, values)).fetchone()
        if found is None:
            raise NotFound(f"no document {doc_id!r}")
        await ask(connection, sql.SET_PASSAGE_GROUPS, values)
        if space.dim:
            await ask(connection, sql.SET_VECTOR_GROUPS, values)
        await ask(connection, sql.CLEAR_READERS, values)
        await ask(connection, sql.INSERT_READERS, {**values, "passages": found[0]})


def words(found: Iterable[str]) -> list[str]:
    """Terms as they are stored, before they are stemmed."""
    return [word[:_LONGEST] for word in found]


def written(vector: Vector) -> str:
    """A vector as pgvector reads it, exact to the bit."""
    return "[" + ",".join(f"{number:.9g}" for number in vector) + "]"


async def _begin(connection: PostgresConnection, key: Mapping[str, Any], generation: int | None) -> None:
    """Begin a change of the tenant: others wait for its end."""
    row = await (await ask(connection, sql.CHANGE, key)).fetchone()
    assert row is not None  # it returns what it wrote
    if generation is not None and row[0] != generation + 1:
        raise overtaken(generation)


async def _clear(connection: PostgresConnection, key: Mapping[str, Any], space: Space) -> tuple[int, int]:
    """Forget the passages of documents; returns how many there were and how many terms they had."""
    await ask(connection, sql.CLEAR_POSTS, key)
    if space.dim:
        await ask(connection, sql.CLEAR_VECTORS, key)
    await ask(connection, sql.CLEAR_READERS, key)
    row = await (await ask(connection, sql.CLEAR_PASSAGES, key)).fetchone()
    assert row is not None  # a count has a row
    return int(row[0]), int(row[1])


async def _insert(
    connection: PostgresConnection, key: Mapping[str, Any], title: str, chunks: Sequence[Chunk], numbers: Sequence[int]
) -> list[int]:
    """Write passages and their terms; returns how many terms each has."""
    lengths: list[int] = []
    posts: list[tuple[str, int, int]] = []
    for chunk, number in zip(chunks, numbers, strict=True):
        titles, body = words(terms(" ".join((title, *chunk.heading_path)))), words(terms(chunk.text))
        lengths.append(len(titles) + len(body))
        counts = Counter(body)
        for word in titles:
            counts[word] += _TITLE_WEIGHT
        posts += ((word, number, often) for word, often in counts.items())
    passages = {
        "numbers": list(numbers),
        "headings": [json.dumps(chunk.heading_path, ensure_ascii=False) for chunk in chunks],
        "starts": [chunk.start for chunk in chunks],
        "stops": [chunk.end for chunk in chunks],
        "lengths": lengths,
        "texts": [chunk.text for chunk in chunks],
    }
    await ask(connection, sql.INSERT_PASSAGES, {**key, **passages})
    held = {"words": [word for word, _, _ in posts], "of": [of for _, of, _ in posts], "often": [n for _, _, n in posts]}
    await ask(connection, sql.INSERT_POSTS, {**key, **held})
    return lengths
