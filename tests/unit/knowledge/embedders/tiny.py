"""A BERT encoder small enough for a test: random weights and a few words, in the files of the real one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from quarterdeck.knowledge.embedders.minilm import Release

Floats = npt.NDArray[np.float32]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "ship", "sails", "##es", "at", "night", "the", "crew", "sleep", "."]
SIZE, HEADS, LAYERS, WIDE, PLACES, EPSILON = 16, 4, 2, 24, 40, 1e-12


def write_model(folder: Path) -> Release:
    """Writes the two files of a model and tells what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(), folder / "model.safetensors")
    _tokenizer().save(str(folder / "tokenizer.json"))
    return Release(
        name="tiny",
        weights=_digest(folder / "model.safetensors"),
        tokenizer=_digest(folder / "tokenizer.json"),
        dim=SIZE,
        heads=HEADS,
        epsilon=EPSILON,
        max_tokens=PLACES,
    )


def forward(folder: Path, text: str, release: Release) -> Floats:
    """The vector of one text, computed step by step and without padding: what the graph has to agree with."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(release.max_tokens)
    return encoded(load_file(folder / "model.safetensors"), tokenizer.encode(text).ids, release.heads, release.epsilon)


def encoded(weights: Mapping[str, Floats], ids: Sequence[int], heads: int, epsilon: float) -> Floats:
    """The vector of these tokens."""

    def dense(x: Floats, name: str) -> Floats:
        return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def normalised(x: Floats, name: str) -> Floats:
        spread = np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return np.asarray((x - x.mean(-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normalised(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    width = x.shape[-1] // heads
    for layer in range(sum(name.endswith("intermediate.dense.bias") for name in weights)):
        at = f"encoder.layer.{layer}"
        query, key, value = (dense(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(width))
            mixed.append(scores / scores.sum(-1, keepdims=True) @ value[:, part])
        attended = dense(np.concatenate(mixed, -1), f"{at}.attention.output.dense")
        x = normalised(x + attended, f"{at}.attention.output.LayerNorm")
        wide = dense(x, f"{at}.intermediate.dense")
        wide = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        x = normalised(x + dense(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def _weights() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), SIZE),
        "embeddings.position_embeddings.weight": (PLACES, SIZE),
        "embeddings.token_type_embeddings.weight": (2, SIZE),
        "pooler.dense.weight": (SIZE, SIZE),
    }
    for name in (
        "embeddings",
        *(f"encoder.layer.{n}.{part}" for n in range(LAYERS) for part in ("attention.output", "output")),
    ):
        shapes |= {f"{name}.LayerNorm.weight": (SIZE,), f"{name}.LayerNorm.bias": (SIZE,)}
    for n in range(LAYERS):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"encoder.layer.{n}.{part}.weight": (SIZE, SIZE), f"encoder.layer.{n}.{part}.bias": (SIZE,)}
        for part, given, wanted in (("intermediate", SIZE, WIDE), ("output", WIDE, SIZE)):
            shapes |= {
                f"encoder.layer.{n}.{part}.dense.weight": (wanted, given),
                f"encoder.layer.{n}.{part}.dense.bias": (wanted,),
            }
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def _tokenizer() -> Tokenizer:
    """As the published file is: every text cut and padded to a fixed length, which the embedder has to undo."""
    tokenizer = Tokenizer(WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return tokenizer


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
