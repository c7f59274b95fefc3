"""Reads the file of multilingual-e5-small with weights of 4 bits: its pieces of words, how characters are written, tensors.

The file is little-endian: a head of eleven numbers, the pieces with their scores, the characters that are written
otherwise, and a directory of tensors. A matrix lies in rows of blocks of 32 weights: one scale of 16 bits, then 16 bytes,
of which byte j holds weight j in its lower half and weight j + 16 in its upper half, each plus 8.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quarterdeck.knowledge.embedders.blocks import BLOCK, Blocks, Floats

__all__ = ["Vocabulary", "tensors", "vocabulary"]

MAGIC, VERSION = b"E5S1", 1
_HEAD = struct.Struct("<4sI7ifi")  # magic, version, size, layers, heads, width, rows, places, kinds, epsilon, block
_WORDS = struct.Struct("<5iQ")  # pieces, begin, end, padding, unknown; bytes of all pieces
_QUANTISED = np.dtype([("scale", "<f2"), ("codes", "u1", (BLOCK // 2,))])
# As the published model names them, by how the file does.
_NAMES: Mapping[str, str] = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_PARTS: Mapping[str, str] = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a text is cut into.

    Attributes:
        pieces: Each with its score; the place is its token.
        written: Characters that are written otherwise, by code point.
        begin, end, unknown: Tokens.
    """

    pieces: list[tuple[str, float]]
    written: Mapping[int, str]
    begin: int
    end: int
    unknown: int


def vocabulary(content: bytes) -> Vocabulary:
    """The vocabulary of the file. Raises ValueError if it is no such file."""
    return _read(content)[0]


def tensors(content: bytes) -> dict[str, Floats | Blocks]:
    """The tensors of the file, as the published model names them. Raises ValueError if it is no such file."""
    size = _HEAD.unpack_from(content)[2]
    at = _read(content)[1]
    (count,) = struct.unpack_from("<i", content, at)
    at += 4
    found: dict[str, Floats | Blocks] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", content, at)
        name = content[at + 2 : at + 2 + length].decode("ascii")
        kind, numbers, begin, extent = struct.unpack_from("<BIQQ", content, at + 2 + length)
        at += 2 + length + 21
        part = memoryview(content)[begin : begin + extent]
        found[_named(name)] = _matrix(part, name, size) if kind else _numbers(part, name, size, numbers)
    return found


def _read(content: bytes) -> tuple[Vocabulary, int]:
    """The vocabulary, and where the directory of tensors begins."""
    if len(content) < _HEAD.size or _HEAD.unpack_from(content)[:2] != (MAGIC, VERSION):
        raise ValueError("this is no file of multilingual-e5-small with weights of 4 bits")
    count, begin, end, _, unknown, extent = _WORDS.unpack_from(content, _HEAD.size)
    at = _HEAD.size + _WORDS.size
    bounds = np.frombuffer(content, "<u4", count + 1, at).tolist()
    at += 4 * (count + 1)
    scores = np.frombuffer(content, "<f4", count, at).tolist()
    at += 4 * count
    words = content[at : at + extent]
    pieces = [
        (words[first:last].decode("utf-8"), score) for first, last, score in zip(bounds, bounds[1:], scores, strict=False)
    ]
    written, at = _written(content, at + extent)
    return Vocabulary(pieces=pieces, written=written, begin=begin, end=end, unknown=unknown), at


def _written(content: bytes, at: int) -> tuple[dict[int, str], int]:
    count, extent = struct.unpack_from("<iI", content, at)
    end = at + 8 + extent
    at += 8
    written: dict[int, str] = {}
    for _ in range(count):
        character, length = struct.unpack_from("<IB", content, at)
        written[character] = "".join(map(chr, struct.unpack_from(f"<{length}I", content, at + 5)))
        at += 5 + 4 * length
    return written, end


def _named(name: str) -> str:
    if known := _NAMES.get(name):
        return known
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}"


def _numbers(part: memoryview, name: str, size: int, count: int) -> Floats:
    numbers = np.frombuffer(part, "<f4", count)
    return numbers.reshape(-1, size) if name in ("emb.pos", "emb.type") else numbers


def _matrix(part: memoryview, name: str, size: int) -> Blocks:
    """A matrix of 4 bits. All have rows of the model's size but the one that leads back to it from the wide layer."""
    blocks = np.frombuffer(part, _QUANTISED)
    rows = size if name.endswith(".fo.w") else len(blocks) * BLOCK // size
    blocks = blocks.reshape(rows, -1)
    return Blocks(codes=blocks["codes"], scales=blocks["scale"])
