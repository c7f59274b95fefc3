from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.knowledge.parsers.process import LimitedProcess, Limits

BAD = "tests.unit.knowledge.parsers.misbehaving"


@pytest.fixture
def process() -> Iterator[LimitedProcess]:
    with LimitedProcess(Limits(time_s=1.0, memory_bytes=300_000_000)) as opened:
        yield opened


@pytest.mark.row("K1", part="limits")
@pytest.mark.parametrize(
    ("order", "error", "reason"),
    [
        ("eat", TooLarge, "of memory"),
        ("die", InvalidInput, "signal 11"),
        ("fail", InvalidInput, "LookupError: no such thing"),
        ("recurse", InvalidInput, "RecursionError"),
    ],
)
def test_a_parser_that_goes_wrong_is_stopped_and_the_next_file_is_read(
    order: str, error: type[InvalidInput], reason: str
) -> None:
    # A machine under load may need seconds to fill the memory.
    with LimitedProcess(Limits(time_s=30.0, memory_bytes=300_000_000)) as process:
        with pytest.raises(error, match=reason):
            process.parse(BAD, order.encode())
        after = process.parse(BAD, b"well")

    assert after.text == "done"


@pytest.mark.row("K1", part="limits")
@pytest.mark.parametrize("order", ["hang", "spin"])
def test_a_parser_that_takes_too_long_is_stopped_and_the_next_file_is_read(process: LimitedProcess, order: str) -> None:
    begun = time.monotonic()

    with pytest.raises(TooLarge, match="longer than 1 s"):
        process.parse(BAD, order.encode())
    after = process.parse(BAD, b"well")

    assert after.text == "done"
    assert time.monotonic() - begun < 10


@pytest.mark.row("K1", part="limits")
def test_all_files_are_read_by_children_of_one_process(process: LimitedProcess) -> None:
    parents = {process.parse(BAD, b"well").title for _ in range(20)}

    assert len(parents) == 1


@pytest.mark.row("K1", part="limits")
def test_a_parser_cannot_write_files_and_sees_no_environment(
    process: LimitedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_SECRET", "s3cret")

    with pytest.raises(InvalidInput):
        process.parse(BAD, f"write {tmp_path}/made".encode())
    seen = process.parse(BAD, b"environment").text

    assert not (tmp_path / "made").exists() or (tmp_path / "made").stat().st_size == 0
    assert "QUARTERDECK_SECRET" not in seen


@pytest.mark.row("K1", part="limits")
def test_what_a_parser_prints_is_no_part_of_its_answer(process: LimitedProcess) -> None:
    assert process.parse(BAD, b"print").text == "done"


def test_a_reader_that_is_not_installed_is_named(process: LimitedProcess) -> None:
    with pytest.raises(InvalidInput, match=r"install quarterdeck\[documents\]"):
        process.parse("no_such_reader_anywhere", b"x")


def test_a_warden_that_died_is_replaced(process: LimitedProcess) -> None:
    first = process.parse(BAD, b"well").title
    process.close()

    assert process.parse(BAD, b"well").title != first


@pytest.mark.row("K1", part="limits")
@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[" * 100_000,
        b'{"text": 5, "title": "", "blocks": [], "warnings": [], "front": {}}',
        b'{"text": "\\ud800", "title": "", "blocks": [], "warnings": [], "front": {}}',
        b'{"text": "", "title": "", "blocks": [[0, 1]], "warnings": [], "front": {}}',
        b'{"refused": "no code"}',
        b"\xff",
    ],
    ids="empty deep number surrogate block code bytes".split(),
)
def test_an_answer_no_parser_gives_is_a_refusal_and_the_next_file_is_read(
    process: LimitedProcess, tmp_path: Path, answer: bytes
) -> None:
    (tmp_path / "answer").write_bytes(answer)

    with pytest.raises(InvalidInput, match="ended"):
        process.parse(BAD, f"answer {tmp_path}/answer".encode())
    after = process.parse(BAD, b"well")

    assert after.text == "done"


@pytest.mark.row("K1", part="limits")
def test_what_a_file_says_of_its_readers_comes_out_of_the_process(process: LimitedProcess) -> None:
    assert process.parse(BAD, b"front").front == {"groups": ("hr", "it"), "title": "Pay"}
