"""Credentials and what is none, whole and in pieces."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.masking import MASK, Mask

CREDENTIALS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk-ant-api03-abcdefghijklmnop",
    "sk-abcdefghijklmnopqrst",
    "sk-live-0123456789",
    "sk-abc1****************wxyz",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "whsec_4eC39HqLyjWDarjtT1zdp7dc",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+abc/def0123456789=",
    "qk_acme.01a1fd67a7ec77d3a20bc423265ee748." + "0123456789abcdef" * 4,
    "qs_acme.0123456789abcdef0123456789abcdef." + "0123456789abcdef" * 4,
    "ghp_abcdefghijklmnopqrst",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "glpat-abcdefghijklmnopqrst",
    "xoxb-123456789012-abcdef",
    "xapp-1-A0123456789-0123456789",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "pypi-AgEIcHlwaS5vcmcCJDU",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz12345",
    "ya29.a0AfH6SMBx0123456789abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\nMIIEow\\n-----END PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ\n-----END PGP PRIVATE KEY BLOCK-----",
]
# A credential is only a part of what it is known by.
INSIDE = [
    ("postgres://bob:hunter2@db/x", "postgres://[secret]@db/x"),
    ("redis://:p:ss@host/0", "redis://[secret]@host/0"),
    ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [secret]"),
    ("bearer abc.def", "bearer [secret]"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [secret]"),
    ('{"authorization":"basic YWxhZGRpbjpvcGVuc2VzYW1l"}', '{"authorization":"basic [secret]"}'),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = [secret]",
    ),
    (
        '{\\"SecretAccessKey\\": \\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\\"}',
        '{\\"SecretAccessKey\\": \\"[secret]\\"}',
    ),
    ("-----BEGIN PRIVATE KEY-----\nMII, and cut", "[secret]"),
    ("It is sk-live-0123456789.", "It is [secret]."),
]
NONE = [
    "ask-me-about-the-long-weekend",
    "a task-2024-11-30-report",
    "sk-short and https://x.example/a:b@c",
    "the bearer of this letter",
    "a basic understanding of the basic principles",
    "bearer tokens. Basic auth.",
    "eyJ is how they begin",
    "secret_access_key = none",
    "https://example.com:8080/path and mail@example.com",
    "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
]


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_what_looks_like_a_credential_is_masked_and_the_words_around_it_stay(credential: str) -> None:
    assert Mask().text(f'Take "{credential}", please.') == f'Take "{MASK}", please.'


@pytest.mark.parametrize(("text", "clean"), INSIDE)
def test_the_words_a_credential_is_known_by_stay(text: str, clean: str) -> None:
    assert Mask().text(text) == clean


@pytest.mark.parametrize("text", NONE)
def test_ordinary_words_stay(text: str) -> None:
    assert Mask().text(text) == text


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_wherever_the_borders_fall_no_part_of_a_credential_is_left(credential: str) -> None:
    text = f'Take "{credential}", please.'

    for size in range(1, len(text)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        clean = Mask().pieces(pieces)

        assert (len(clean), "".join(clean)) == (len(pieces), f'Take "{MASK}", please.')


def test_a_credential_at_the_beginning_of_a_piece_is_seen_behind_any_piece() -> None:
    clean = Mask().pieces(["id-of-task", "sk-live-0123456789", " ends"])

    assert clean == ["id-of-task", MASK, " ends"]


def test_known_secrets_are_masked_by_value_the_longer_first() -> None:
    mask = Mask(["hunter2", "hunter2-production"])

    assert mask.text("hunter2 and hunter2-production") == f"{MASK} and {MASK}"


def test_a_known_secret_is_found_in_json_within_a_text() -> None:
    secret = 'quo"te\\slash'

    assert Mask([secret]).text(json.dumps({"key": secret})) == json.dumps({"key": MASK})


def test_a_key_that_is_an_ordinary_word_spoils_no_words() -> None:
    assert Mask(["any", ""]).text("many") == "many"


def test_values_are_masked_in_texts_and_names() -> None:
    value = {"sk-live-0123456789": ["sk-live-0123456789", 7, None, {"a": True}]}

    assert Mask().value(value) == {MASK: [MASK, 7, None, {"a": True}]}


@given(st.lists(st.text(alphabet="sk-_0aA.:/@ eyJ", max_size=12), max_size=8))
def test_pieces_hold_no_more_than_the_whole_and_are_as_many(pieces: list[str]) -> None:
    clean = Mask(["a0a0a0"]).pieces(pieces)

    assert len(clean) == len(pieces)
    assert "a0a0a0" not in "".join(clean)


@pytest.mark.parametrize(
    "part", ["sk-", "-eyJ", "eyJ.", "bearer ", "basic ", "://a:", "-----BEGIN PRIVATE KEY-----", "secretaccesskey="]
)
def test_a_text_made_to_be_slow_is_not(part: str) -> None:
    text = part * (200_000 // len(part))
    started = time.process_time()

    Mask().text(text)

    assert time.process_time() - started < 2.0


def test_many_credentials_in_many_pieces_are_not_slow() -> None:
    secret = "sk-" + "a1" * 10
    started = time.process_time()

    clean = Mask().pieces([*f"{secret} " * 4000])

    assert "".join(clean) == f"{MASK} " * 4000
    assert time.process_time() - started < 2.0
