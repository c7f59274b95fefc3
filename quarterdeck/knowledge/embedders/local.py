"""What models in this process have in common: weights that are known byte for byte, a graph made once, and its thread.

Weights are not part of the project. They are looked for in a folder or in an installed package that carries them, and
used only if they are, byte for byte, those that are known: whoever packed them is not trusted, the digest is. They are
converted once to a graph for onnxruntime, which lies in the data folder under its own digest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # carries no types
from anyio import to_thread

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, InvalidInput, Misconfigured
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.calibration import Calibration
from quarterdeck.models.embeddings import Embedded, Vector

__all__ = ["LocalEmbedder", "checked", "opened", "package_folder"]

GRAPH = "1"  # changes whenever `bert_onnx` writes another graph: a file written before is not used any more
WINDOW = 512  # texts that are sorted by length together
BATCH = 32  # texts of one call
BATCH_TOKENS = 1_024  # of one call, padding included: more is no faster, and a question waits 0.3 s at most for an ingestion

log = logging.getLogger(__name__)


class LocalEmbedder:
    """`Embedder` in this process. One thread works on one call, at most `concurrency` calls at once.

    Attributes:
        calibration: What goes with its model.
    """

    def __init__(
        self,
        encode: Callable[[str], Sequence[int]],
        session: onnxruntime.InferenceSession,
        *,
        id: str,
        dim: int,
        languages: frozenset[str] | None,
        calibration: Calibration,
        concurrency: int,
    ) -> None:
        """
        Args:
            encode: The tokens of a text, at least one; it is given no lone surrogates.
            session: Of a graph that `bert_onnx.convert` wrote.
        """
        self.calibration = calibration
        self._encode = encode
        self._session = session
        self._id = id
        self._dim = dim
        self._languages = languages
        self._turns = anyio.CapacityLimiter(concurrency)

    @property
    def id(self) -> str:
        return self._id

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def languages(self) -> frozenset[str] | None:
        return self._languages

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        if any(not text for text in texts):
            raise InvalidInput("an empty text has no vector")
        started = time.monotonic()
        remaining_s = ctx.remaining_s()
        vectors: list[Vector] = []
        tokens = 0
        try:
            with anyio.fail_after(remaining_s):
                for at in range(0, len(texts), WINDOW):
                    encoded = await to_thread.run_sync(self._encoded, texts[at : at + WINDOW], limiter=self._turns)
                    tokens += sum(map(len, encoded))
                    vectors += await self._vectors(encoded)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{len(texts)} texts were not embedded in the {remaining_s:.1f} s that were left"
            ) from error
        return Embedded(vectors=tuple(vectors), usage=Usage(prompt_tokens=tokens, seconds=time.monotonic() - started))

    async def _vectors(self, encoded: Sequence[Sequence[int]]) -> list[Vector]:
        found: dict[int, Vector] = {}
        # A thread for each batch and not for all of them: in between, others get their turn and a deadline is noticed.
        for batch in _batches(encoded):
            rows = await to_thread.run_sync(self._run, [encoded[place] for place in batch], limiter=self._turns)
            found.update(zip(batch, rows, strict=True))
        return [found[place] for place in range(len(encoded))]

    def _encoded(self, texts: Sequence[str]) -> list[Sequence[int]]:
        # Tokenisers refuse a lone surrogate, which stands for no character anyway.
        return [self._encode(text.encode("utf-8", "replace").decode()) for text in texts]

    def _run(self, batch: Sequence[Sequence[int]]) -> list[Vector]:
        ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        (vectors,) = self._session.run(["vectors"], {"ids": ids, "mask": mask})
        return [array("f", row.tobytes()) for row in vectors]


def _batches(encoded: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of texts that go together: of about one length, so that little is computed over padding."""
    batch: list[int] = []
    for place in sorted(range(len(encoded)), key=lambda place: len(encoded[place])):
        # The newest is the longest, and all of the batch are padded to it.
        if batch and (len(batch) == BATCH or (len(batch) + 1) * len(encoded[place]) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def package_folder(package: str) -> Path | None:
    """Where an installed package lies, which is not imported; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations or ()) if spec else ()
    return next((Path(place) for place in places), None)


def checked(path: Path, digest: str, model: str, again: str) -> Path:
    """`path`, if its sha256 is `digest`.

    Args:
        model: Whose file it is.
        again: What to do where it is not.

    Raises:
        Misconfigured: It cannot be read or is another file.
    """
    try:
        found = _sha256(path)
    except OSError as error:
        raise Misconfigured(f"{path}, of the model {model}, cannot be read: {error}") from error
    if found != digest:
        raise Misconfigured(f"{path} is not used: its sha256 is {found}, and that of {model} is {digest}. {again}")
    return path


def opened(data: Path, stem: str, graph: Callable[[], bytes]) -> onnxruntime.InferenceSession:
    """A session over the graph of that name in the folder `data`, on one processor.

    Args:
        stem: Names the weights. The file's name holds the digest of the graph too, so that a damaged one is not used.
        graph: Makes the graph, where it was not made before.

    Raises:
        Misconfigured: `data` cannot be written.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take the processor from the others: 7 to 16 ms under load so, 44 to 574 ms otherwise.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = _converted(data, f"{stem}-{GRAPH}", graph)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _converted(data: Path, stem: str, graph: Callable[[], bytes]) -> Path:
    for path in sorted(data.glob(f"{stem}.*.onnx")):
        if path.name == f"{stem}.{_sha256(path)}.onnx":
            return path
        log.warning("a converted model was damaged and is made again", extra={"path": str(path)})
        path.unlink(missing_ok=True)
    content = graph()
    path = data / f"{stem}.{hashlib.sha256(content).hexdigest()}.onnx"
    try:
        data.mkdir(parents=True, exist_ok=True)
        _write(path, content)
    except OSError as error:
        raise Misconfigured(f"the converted model cannot be kept in {data}: {error}") from error
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes) -> None:
    """All or nothing: whoever opens the file sees it whole, and of two writers either one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".converting-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
