"""What a search costs among many passages of which one may see all, half or one in a hundred.

Passages are invented: 60 words that are as unevenly frequent as words are, and a vector of length 1 near one of 200 centres.
A question is three such words, which is the worst a keyword search can be asked, and a vector near one of the centres.
"""

from __future__ import annotations

import statistics
import time
import zlib
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import psutil

from bench.engines import Open
from bench.measure import Measure, absolute, at_least
from quarterdeck.core.context import Context, Principal
from quarterdeck.knowledge.base import Chunk, Document, KnowledgeIndex, Lookup, Space, Vector
from quarterdeck.knowledge.search import Searcher, lookup_groups
from quarterdeck.models.embeddings import Embedded

Floats: TypeAlias = "npt.NDArray[np.float32]"

DIM = 384
CENTRES = 200
WORDS, VOCABULARY = 60, 20_000  # of a passage; of all
PER_DOCUMENT = 10  # passages
QUESTIONS = 20
K = 10
TENANT = "bench"
SHARES = {"all": 1, "half": 2, "rare": 100}  # group -> every how many documents it may read
MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The most CPU milliseconds of a search, and the least recall; None: only told."""

    vector_ms: float | None = None
    hybrid_ms: float | None = None
    recall: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Attributes: vectors: One row for each passage, in their order; asked: one for each question."""

    documents: Sequence[Document]
    chunks: Sequence[Sequence[Chunk]]
    vectors: Floats
    questions: Sequence[str]
    asked: Floats

    @classmethod
    def of(cls, passages: int, seed: int = 11) -> World:
        """The same world for the same seed."""
        rng = np.random.default_rng(seed)
        frequency = 1 / np.arange(1, VOCABULARY + 1)
        frequency /= frequency.sum()
        centres = _units(rng.normal(size=(CENTRES, DIM)))

        def words(texts: int, each: int) -> list[str]:
            drawn = rng.choice(VOCABULARY, size=(texts, each), p=frequency)
            return [" ".join(f"w{word}" for word in text) for text in drawn]

        def vectors(count: int) -> Floats:
            return _units(centres[rng.integers(CENTRES, size=count)] + rng.normal(scale=0.05, size=(count, DIM)))

        texts = words(passages, WORDS)
        pairs = [
            _document(number, texts[at : at + PER_DOCUMENT]) for number, at in enumerate(range(0, passages, PER_DOCUMENT))
        ]
        return cls(
            documents=[document for document, _ in pairs],
            chunks=[chunks for _, chunks in pairs],
            vectors=vectors(passages),
            questions=words(QUESTIONS, 3),
            asked=vectors(QUESTIONS),
        )

    def nearest(self, question: int, group: str) -> set[str]:
        """Ids of the passages that are really nearest to a question, of those a group may read."""
        visible = [
            number * PER_DOCUMENT + n for number in range(0, len(self.documents), SHARES[group]) for n in range(PER_DOCUMENT)
        ]
        cosines = self.vectors[visible] @ self.asked[question]
        best = np.asarray(visible)[np.argsort(-cosines)[:K]]
        return {f"{self.documents[row // PER_DOCUMENT].id}-{row % PER_DOCUMENT + 1}" for row in best}


class Planted:
    """An embedder that knows the vectors of the questions and makes up those of anything else, at no cost to speak of."""

    id = "planted"
    dim = DIM
    languages = None

    def __init__(self, world: World) -> None:
        self._known = {text: _vector(row) for text, row in zip(world.questions, world.asked, strict=True)}

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        return Embedded(vectors=tuple(self._known.get(text) or _made_up(text) for text in texts))


async def scaled(name: str, open_index: Open, world: World, budgets: Budgets) -> AsyncIterator[Measure]:
    """Figures of one engine. Raises NotThere."""
    process = psutil.Process()
    async with open_index(Space(embedder=Planted.id, dim=DIM)) as opened:
        rss_before = process.memory_info().rss
        clock = Clock(opened.server)
        yield await _filled(name, opened.index, world, clock)
        yield absolute(f"{name}: disk", opened.disk_bytes() / MB, "MB", note="vectors, text, words and permissions")
        for group, every in SHARES.items():
            async for measure in _searched(f"{name}, {1 / every:.0%} visible", opened.index, world, group, budgets, clock):
                yield measure
        yield absolute(
            f"{name}: memory", (process.memory_info().rss - rss_before) / MB, "MB", note="more RSS in this process"
        )
        if opened.server is not None:
            yield absolute(f"{name}: memory of the server", _pss(opened.server) / MB, "MB", note="PSS of its processes")


class Clock:
    """CPU seconds of this process, and of the server that works for it."""

    def __init__(self, server: psutil.Process | None) -> None:
        self._server = server

    def own(self) -> float:
        return time.process_time()

    def server(self) -> float:
        """0 where there is none. Counted in hundredths of a second: to be read around many questions."""
        return sum(sum(one.cpu_times()[:4]) for one in _family(self._server))


async def _filled(name: str, index: KnowledgeIndex, world: World, clock: Clock) -> Measure:
    started, cpu, server = time.monotonic(), clock.own(), clock.server()
    at = 0
    for document, chunks in zip(world.documents, world.chunks, strict=True):
        await index.upsert(document, chunks, [_vector(row) for row in world.vectors[at : at + len(chunks)]])
        at += len(chunks)
    taken_s, cpu_s, server_s = time.monotonic() - started, clock.own() - cpu, clock.server() - server
    note = f"{PER_DOCUMENT} passages a document, one document at a time, {cpu_s / at * 1e6:.0f} CPU µs each in this process"
    if server_s:
        note += f", {server_s / at * 1e6:.0f} in the server"
    return at_least(f"{name}: ingestion", at / taken_s, "per s", note=note)


async def _searched(
    name: str, index: KnowledgeIndex, world: World, group: str, budgets: Budgets, clock: Clock
) -> AsyncIterator[Measure]:
    principal = Principal(user="bench", tenant=TENANT, groups=(group,))
    searcher = Searcher(index, embedder=Planted(world))
    nearest = [world.nearest(question, group) for question in range(QUESTIONS)]
    recalls: list[float] = []

    def lookup(question: int) -> Lookup:
        return Lookup(text=world.questions[question], tenant=TENANT, groups=lookup_groups(principal))

    def ctx() -> Context:
        return Context(principal=principal, run_id="bench", deadline=time.monotonic() + 60)

    async def keyword(question: int) -> None:
        await index.keyword(lookup(question), 100)

    async def vector(question: int) -> None:
        found = await index.vector(lookup(question), _vector(world.asked[question]), 100)
        recalls.append(len({passage.id for passage in found[:K]} & nearest[question]) / K)

    async def hybrid(question: int) -> None:
        await searcher.ranked(lookup(question), K, ctx())

    async def search(question: int) -> None:
        await searcher.search(world.questions[question], ctx(), K)

    cpu_ms, note = await _cost(keyword, clock)
    yield absolute(f"{name}: keyword", cpu_ms, "CPU ms", note=note)
    cpu_ms, note = await _cost(vector, clock)
    yield absolute(f"{name}: vector", cpu_ms, "CPU ms", budget=budgets.vector_ms, note=note)
    yield at_least(f"{name}: recall@10", round(statistics.fmean(recalls), 4), "of exact", budget=budgets.recall)
    cpu_ms, note = await _cost(hybrid, clock)
    yield absolute(f"{name}: hybrid", cpu_ms, "CPU ms", budget=budgets.hybrid_ms, note=note)
    cpu_ms, note = await _cost(search, clock)
    yield absolute(f"{name}: with cut-off", cpu_ms, "CPU ms", note=note)


async def _cost(ask: Callable[[int], Awaitable[None]], clock: Clock) -> tuple[float, str]:
    """Median CPU milliseconds of a question in this process, and a note with the wall time and what a server had to do.

    The first question fills caches and is not counted.
    """
    await ask(0)
    cpu_ms, wall_ms = [], []
    server = clock.server()
    for question in range(QUESTIONS):
        cpu, wall = time.process_time(), time.monotonic()
        await ask(question)
        cpu_ms.append((time.process_time() - cpu) * 1e3)
        wall_ms.append((time.monotonic() - wall) * 1e3)
    note = f"{statistics.median(wall_ms):.1f} ms by the clock"
    if server_s := clock.server() - server:
        note += f", {server_s / QUESTIONS * 1e3:.1f} CPU ms in the server on average"
    return statistics.median(cpu_ms), note


def _family(process: psutil.Process | None) -> list[psutil.Process]:
    return [] if process is None else [process, *process.children(recursive=True)]


def _pss(process: psutil.Process) -> float:
    """Memory of a process and its children, what they share counted once."""
    return float(sum(one.memory_full_info().pss for one in _family(process)))


def _document(number: int, texts: Sequence[str]) -> tuple[Document, list[Chunk]]:
    chunks: list[Chunk] = []
    start = 0
    for text in texts:
        chunks.append(Chunk(text=text, start=start, end=start + len(text)))
        start += len(text) + 2
    groups = frozenset(group for group, every in SHARES.items() if number % every == 0)
    document = Document(id=f"d{number}", tenant=TENANT, title=f"d{number}", text="\n\n".join(texts), groups=groups)
    return document, chunks


def _units(rows: npt.NDArray[np.float64]) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _vector(row: Floats) -> Vector:
    return array("f", row.tobytes())


def _made_up(text: str) -> Vector:
    return _vector(_units(np.random.default_rng(zlib.crc32(text.encode())).normal(size=(1, DIM)))[0])
