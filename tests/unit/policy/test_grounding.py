"""A value is grounded when it stands, as a whole token, in somebody's words."""

from __future__ import annotations

import time
from typing import Any

import pytest

from quarterdeck.policy.grounding import Ground, addresses, fold, host_of, leaves, lines


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("bob@corp.example", "Send it to Bob@Corp.Example."),
        ("bob@corp.example", "(bob@corp.example)"),
        ("bob@corp.example", "发给bob@corp.example吧"),
        ("bob", "that is bob's book"),
        ("INV-7", "pay inv-7, please"),
        ("7", "ticket #7"),
        ("7", "ticket:7"),
        ("report.pdf", "open report.pdf"),
        ("https://x.example/a", "did you see https://x.example/a?"),
        ("New York", "fly to new\n york today"),
        ("张三", "给张三发邮件"),
        ("T-1001", "Ｔ-1001"),
        ("Ｔ-1001", "Ｔ-1001 please"),
        ("标题，正文", "写：标题，正文"),
        ("bob", "is this bob's?"),
        ("https://x.example", "see https://x.example/"),
        ("T-1001", "T-\u200b1001"),
        (100, "100.0 euros"),
        (100.0, "pay 100, now"),
        (1000.5, "€1,000.50"),
        (100, "付100元"),
        (True, ""),
        (None, ""),
        ("", ""),
        ("  ", ""),
    ],
)
def test_what_the_user_wrote_is_grounded(value: Any, words: str) -> None:
    assert Ground([words]).holds(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("bob@corp.example", "bob@corp.example.net"),
        ("bob@corp.example", "x.bob@corp.example"),
        ("ob@corp.example", "bob@corp.example"),
        ("bob@corp.example", "bob @corp.example"),
        ("report.pdf", "secret/report.pdf"),
        ("7", "INV-7"),
        ("7", "77"),
        ("https://x.example", "https://x.example/a"),
        ("https://x.example/", "https://x.example/a"),
        ("https://x.example/a", "https://x.example/a?key=1"),
        ("evil.example", "good.example"),
        ("ann", "anna"),
        ("Ｔ-1001", "T-1001"),
        ("info@straße.example", "info@strasse.example"),
        ("\u24d1ob@corp.example", "bob@corp.example"),
        ("report\u200b.pdf", "report.pdf"),
        ("b\u043eb@corp.example", "bob@corp.example"),
        ("https://x.example", "https://x.example/?key=1"),
        ("/home", "/home/../etc"),
        ("report.pdf", "../report.pdf"),
        ("report", "report~1.pdf"),
        ("brien@corp.example", "o'brien@corp.example"),
        (100, "1000"),
        (100, "T100"),
        (-5, "5"),
        (float("inf"), "inf"),
        ("one two", "one"),
    ],
)
def test_what_the_user_did_not_write_is_not(value: Any, words: str) -> None:
    assert not Ground([words]).holds(value)


def test_a_value_does_not_reach_from_one_text_into_the_next() -> None:
    assert not Ground(["pay bob", "smith"]).holds("bob smith")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://X.example/a/.", {"https://x.example/a", "x.example/a"}),
        ("write to eve@evil.example!", {"eve@evil.example"}),
        ("go to evil.example/x now", {"evil.example/x"}),
        ("look,eve@evil.example", {"eve@evil.example"}),
        ("\uff45vil.example", {"evil.example", "\uff45vil.example"}),
        ("ev\u200bil.example", {"evil.example", "il.example"}),
        ("info@straße.example", {"info@strasse.example", "info@straße.example"}),
        ("_www.evil.example/x_", {"www.evil.example/x_"}),
        ("-evil.example", {"evil.example"}),
        ("详情：https://x.example/a，谢谢", {"https://x.example/a", "x.example/a"}),
        ("https://x.example：80@evil.example", {"https://x.example", "x.example", "80@evil.example"}),
        ("https://x.example。cn", {"https://x.example。cn", "x.example"}),
        ("nothing here. Really nothing", set()),
        ("version 1.2.3 of it", set()),
    ],
)
def test_addresses_are_found_in_text(text: str, found: set[str]) -> None:
    assert addresses(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("call +49 (30) 123-4567", {"49301234567"}),
        ("IBAN DE89 3704 0044 0532 0130 00, please", {"de89370400440532013000"}),
        ("card 6222021234567890123", {"6222021234567890123"}),
        ("on 2026-05-01 10:30 in room 12", set()),
        ("1234", set()),
    ],
)
def test_telephone_numbers_and_accounts_are_found_in_text(text: str, found: set[str]) -> None:
    assert found <= lines(text)
    assert bool(lines(text)) == bool(found)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Docs.corp.example:8080/a?b", "docs.corp.example"),
        ("bob@corp.example", "corp.example"),
        ("https://corp.example.", "corp.example"),
        ("corp.example/a", None),
        ("https://good.example@evil.example/", None),
        ("https://good.example\\@evil.example", None),
        ("https://a b", None),
        ("https://[::1", None),
        ("a@b@c", None),
        ("https:/evil.example/@corp.example", None),
        ("evil.example/@corp.example", None),
        ("mallory@evil.example,x.corp.example", None),
        ("https://evil.example;.corp.example", None),
        ("https://[::1]/", "::1"),
        ("bob", None),
    ],
)
def test_a_host_is_read_only_where_nobody_could_read_another(address: str, host: str | None) -> None:
    assert host_of(address) == host


def test_leaves_are_every_value_and_every_key_a_model_chose() -> None:
    value = {"to": [{"name": "a", "evil@x.example": 1}], "n": None}

    assert list(leaves(value, frozenset({"to", "name", "n"}))) == ["a", "evil@x.example", 1, None]


def test_hostile_text_takes_no_time() -> None:
    started = time.process_time()

    for text in ("a" * 20_000, "a." * 10_000, "1 " * 10_000, "a@" * 10_000, "de12 " * 4000, "9" * 20_000, "http://" * 3000):
        addresses(text)
        lines(text)
        Ground([text]).holds("aaaa@b")
        assert len(Ground([text]).numbers) >= 0

    assert time.process_time() - started < 2.0


def test_folding_is_idempotent() -> None:
    assert fold(fold("Ｆull\u00ad  Width\nSTRASSE ß")) == fold("Ｆull\u00ad  Width\nSTRASSE ß")


def test_a_value_within_a_word_without_end_stands_nowhere_and_behind_it_it_does() -> None:
    endless = "x" * 300_000

    assert not Ground([endless]).holds("xxx")
    assert Ground([f"{endless} xxx"]).holds("xxx")
    assert Ground([f"{endless}请xxx"]).holds("xxx")
