"""The same numbers of other things say something else."""

from __future__ import annotations

import pytest

from quarterdeck.knowledge.entail import contradicts, differs

TEXT = "A session ends after 5 hours. It holds 12 devices at the same time, and 3 calls are free. Error 809 means no route."
ZH = "连接 5 小时之后断开，最多 12 台设备，共 3 个部门。"
MARKED = pytest.mark.row("K6", part="numbers")


@MARKED
@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("A session ends after 12 hours and holds 5 devices.", TEXT),
        ("A session ends after 12 hours.", TEXT),
        ("It holds five devices at the same time.", TEXT),
        ("It holds 3 devices and 12 calls are free.", TEXT),
        ("最多 5 台设备。", ZH),
        ("连接 12 小时之后断开。", ZH),
        ("共 12 个部门。", ZH),
    ],
)
def test_swapped_numbers_are_seen(sentence: str, text: str) -> None:
    assert contradicts(sentence, [text])


@MARKED
@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("A session ends after 5 hours and holds 12 devices.", TEXT),
        ("Twelve small devices are held at the same time.", TEXT),
        ("12 phones are held at the same time.", TEXT),
        ("For error 809 there is no route.", TEXT),
        ("It takes 30 minutes.", "It takes 30 to 45 minutes."),
        ("5 hours are left.", "Of 8 hours, 5 are left."),
        ("Call 7777 at any hour.", "Call extension 7777, within 1 hour."),
        ("连接 5 小时之后断开，最多 12 台设备。", ZH),
    ],
    ids=["as it says", "in words", "by another name", "a code", "a range", "a part", "no count", "chinese"],
)
def test_what_is_counted_alike_or_not_told_is_no_difference(sentence: str, text: str) -> None:
    assert not differs(sentence, [text])
