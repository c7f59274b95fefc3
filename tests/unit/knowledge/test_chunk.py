from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.knowledge.base import Chunk
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.parsers import markdown, text
from quarterdeck.models.tokens import count_tokens

ARTICLE = """# Travel

Book early. Ask first.

## Meals

Meals cost money. Keep receipts.

| country | euros |
|---------|-------|
| France  | 45    |

```sh
# not a heading
echo "a. b. c."
```

## 报销

出差结束后提交发票。境外餐费每天最多四十五欧元！机票需要批准吗？需要。
"""


def chunks(source: str, **options: int) -> list[Chunk]:
    parsed = markdown.parse(source.encode())
    return split(parsed.text, parsed.blocks, **options)


def test_a_chunk_never_crosses_a_heading_and_knows_its_path() -> None:
    made = chunks(ARTICLE)

    assert [chunk.heading_path for chunk in made] == [(), ("Meals",), ("报销",)]
    assert made[0].text == "Book early. Ask first."


def test_small_limits_cut_at_sentence_ends_of_either_language() -> None:
    made = [chunk.text for chunk in chunks("One is here. Two is here. 第一句在这里。第二句在这里！", size=14)]

    assert made == ["One is here.", "Two is here.", "第一句在这里。第二句在这里！"]


def test_tables_and_code_that_fit_are_kept_whole() -> None:
    made = chunks(ARTICLE, size=80)

    assert any(chunk.text.startswith("| country") and chunk.text.endswith("45    |") for chunk in made)
    assert any(chunk.text.startswith("```sh") and chunk.text.endswith("```") for chunk in made)


def test_a_table_that_does_not_fit_is_cut_between_its_lines() -> None:
    table = "\n".join(f"| row {n} | value. And more. |" for n in range(20))

    made = chunks(table, size=100)

    assert len(made) > 5
    assert all(line.startswith("| row") and line.endswith("|") for chunk in made for line in chunk.text.split("\n"))


def test_a_sentence_that_is_too_long_is_cut_at_a_comma_or_space() -> None:
    made = chunks("word " * 100 + "，".join(["短语"] * 100), size=60)

    assert all(len(chunk.text) <= 60 for chunk in made)
    assert not any(chunk.text.startswith(("ord", "rd")) for chunk in made)


def test_an_overlap_repeats_whole_sentences_within_a_section() -> None:
    made = [chunk.text for chunk in chunks("Aaa aaa. Bbb bbb. Ccc ccc. Ddd ddd.", size=18, overlap=9)]

    assert made == ["Aaa aaa. Bbb bbb.", "Bbb bbb. Ccc ccc.", "Ccc ccc. Ddd ddd."]


PIECES = st.sampled_from(
    [
        "# ",
        "## 标题",
        "\n",
        "\n\n",
        "word ",
        "Sentence one. ",
        "句子。",
        "| a | b |\n",
        "```\n",
        "- ",
        "---\n",
        "===\n",
        "🙂",
        "\t",
        "x" * 30,
    ]
)


@pytest.mark.row("K2", part="markdown")
@given(
    source=st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=60).map("".join)),
    size=st.integers(1, 120),
    overlap=st.integers(0, 60),
)
def test_every_chunk_is_its_span_and_no_word_outside_headings_is_lost(source: str, size: int, overlap: int) -> None:
    source = source.encode("utf-8", "ignore").decode().replace("\0", "").replace("\r", "\n")
    parsed = text.parse(source.encode())

    made = split(parsed.text, parsed.blocks, size=size, overlap=overlap)

    assert all(parsed.text[chunk.start : chunk.end] == chunk.text for chunk in made)
    assert all(chunk.text.strip() and len(chunk.text) <= size for chunk in made)
    assert [chunk.start for chunk in made] == sorted(chunk.start for chunk in made)
    covered = {place for chunk in made for place in range(chunk.start, chunk.end)}
    assert all(place in covered for place, letter in enumerate(parsed.text) if not letter.isspace())


@pytest.mark.row("K2", part="markdown")
@given(source=st.lists(PIECES, max_size=60).map("".join), size=st.integers(1, 120), overlap=st.integers(0, 60))
def test_markdown_chunks_are_their_spans_too(source: str, size: int, overlap: int) -> None:
    parsed = markdown.parse(("x\n" + source).encode())

    made = split(parsed.text, parsed.blocks, size=size, overlap=overlap)

    assert all(parsed.text[chunk.start : chunk.end] == chunk.text for chunk in made)
    assert all(chunk.text.strip() and len(chunk.text) <= size for chunk in made)


@pytest.mark.row("K2", part="tokens")
@given(st.text(max_size=3_000), st.integers(4, 80), st.integers(0, 20))
def test_no_chunk_has_more_tokens_than_it_may_and_each_is_its_span(source: str, size: int, overlap: int) -> None:
    parsed = text.parse(source.replace("\0", "").encode("utf-8", "ignore"))

    made = split(parsed.text, parsed.blocks, size=size, overlap=overlap, measure=count_tokens)

    assert all(count_tokens(chunk.text) <= size or len(chunk.text) == 1 for chunk in made)
    assert all(parsed.text[chunk.start : chunk.end] == chunk.text for chunk in made)


@pytest.mark.row("K2", part="tokens")
def test_chunks_of_tokens_repeat_whole_sentences_of_the_one_before() -> None:
    source = " ".join(f"Sentence number {number} says one small thing." for number in range(30))
    parsed = text.parse(source.encode())

    made = split(parsed.text, parsed.blocks, size=40, overlap=12, measure=count_tokens)

    assert len(made) > 3
    assert all(before.end > after.start for before, after in pairwise(made))
    assert all(chunk.text.startswith("Sentence number") and chunk.text.endswith(".") for chunk in made)
