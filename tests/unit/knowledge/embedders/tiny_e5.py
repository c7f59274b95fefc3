"""A multilingual encoder small enough for a test: random weights of 4 bits and a few pieces, in one file as the real one."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from quarterdeck.knowledge.calibration import Added, Calibration
from quarterdeck.knowledge.embedders.e5 import FILE, E5Release

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "\u2581",
    "\u2581the",
    "\u2581ship",
    "\u2581sails",
    "\u2581a",
    "世",
    "界",
    "s",
    "ship",
]
WRITTEN = {0x3000: " ", ord("①"): "1", ord("Ａ"): "a", 0x07: ""}
SIZE, HEADS, LAYERS, WIDE, PLACES, EPSILON = 64, 4, 2, 96, 40, 1e-12


def write_e5(folder: Path) -> E5Release:
    """Writes the one file of a model and tells what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    content = e5_file()
    (folder / FILE).write_bytes(content)
    return E5Release(
        name="tiny-e5",
        file=hashlib.sha256(content).hexdigest(),
        dim=SIZE,
        heads=HEADS,
        epsilon=EPSILON,
        max_tokens=PLACES,
        calibration=Calibration(question="query: ", passage="passage: ", meaning=Added(deviation=0.1, share=0.5)),
    )


def e5_file() -> bytes:
    """The file: head, pieces, characters that are written otherwise, directory, tensors."""
    words = [piece.encode() for piece in PIECES]
    bounds = np.cumsum([0, *map(len, words)]).astype("<u4")
    scores = np.array([-1.0 - 0.5 * place for place in range(len(PIECES))], dtype="<f4")
    written = b"".join(
        struct.pack(f"<IB{len(out)}I", character, len(out), *map(ord, out)) for character, out in sorted(WRITTEN.items())
    )
    head = struct.pack("<4sI7ifi", b"E5S1", 1, SIZE, LAYERS, HEADS, WIDE, len(PIECES), PLACES, 2, EPSILON, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, words)))
    head += bounds.tobytes() + scores.tobytes() + b"".join(words) + struct.pack("<iI", len(WRITTEN), len(written)) + written
    tensors = _tensors()
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory = struct.pack("<i", len(tensors))
    for name, (kind, count, data) in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(data))
        at += len(data)
    return head + directory + b"".join(data for _, _, data in tensors.values())


def _tensors() -> dict[str, tuple[int, int, bytes]]:
    rng = np.random.default_rng(7)

    def numbers(*shape: int) -> tuple[int, int, bytes]:
        values = rng.normal(0, 0.5, shape).astype("<f4")
        return 0, values.size, values.tobytes()

    def blocks(rows: int, columns: int) -> tuple[int, int, bytes]:
        packed = np.zeros(rows * columns // 32, dtype=[("scale", "<f2"), ("codes", "u1", (16,))])
        packed["scale"] = rng.uniform(0.02, 0.08, len(packed))
        packed["codes"] = rng.integers(0, 256, (len(packed), 16))
        return 1, rows * columns, packed.tobytes()

    found = {"emb.word": blocks(len(PIECES), SIZE), "emb.pos": numbers(PLACES, SIZE), "emb.type": numbers(2, SIZE)}
    found |= {"emb.ln.w": numbers(SIZE), "emb.ln.b": numbers(SIZE)}
    for layer in range(LAYERS):
        for part, wanted, given in (("q", SIZE, SIZE), ("k", SIZE, SIZE), ("v", SIZE, SIZE), ("ao", SIZE, SIZE)):
            found |= {f"l{layer}.{part}.w": blocks(wanted, given), f"l{layer}.{part}.b": numbers(wanted)}
        for part, wanted, given in (("fi", WIDE, SIZE), ("fo", SIZE, WIDE)):
            found |= {f"l{layer}.{part}.w": blocks(wanted, given), f"l{layer}.{part}.b": numbers(wanted)}
        for part in ("aln", "oln"):
            found |= {f"l{layer}.{part}.w": numbers(SIZE), f"l{layer}.{part}.b": numbers(SIZE)}
    return found
