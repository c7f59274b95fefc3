"""The token estimate beside counts of the o200k vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.models.tokens import count_tokens

# Each text with its length in o200k tokens.
ENGLISH = (
    "The laptop does not charge when it is connected to the docking station on the third floor. I have tried another cable "
    "and another socket, and both work with the laptop of my colleague. Please tell me whether the battery can be replaced "
    "under warranty, and how long the repair would take."
)
CHINESE = (
    "员工报销差旅费用时，应当在出差结束后三十天内提交申请，并附上发票、行程单以及部门经理的批准意见。"
    "超过规定标准的部分原则上由个人承担，特殊情况需要财务总监书面同意。"
)
JSON = (
    '{"ticket_id": "INC-20417", "status": "open", "priority": 2, "created_at": "2026-03-14T09:26:53Z", '
    '"assignee": {"name": "Dana Hill", "group": "it-admins"}, "tags": ["hardware", "battery"], '
    '"comments": [{"author": "bot", "text": "Received."}]}'
)


def test_an_empty_text_has_no_tokens() -> None:
    assert count_tokens("") == 0


@pytest.mark.parametrize(("text", "tokens"), [(ENGLISH, 57), (CHINESE, 58), (JSON, 86)], ids=["english", "chinese", "json"])
def test_the_estimate_is_near_the_vocabulary(text: str, tokens: int) -> None:
    estimate = count_tokens(text)

    assert abs(estimate - tokens) <= 0.2 * tokens


@given(st.text(min_size=1))
def test_any_text_has_at_least_one_token_and_at_most_a_few_per_character(text: str) -> None:
    assert 1 <= count_tokens(text) <= 4 * len(text) + 1


@given(st.text(), st.text())
def test_a_longer_text_never_has_fewer_tokens_than_its_beginning(start: str, more: str) -> None:
    assert count_tokens(start + more) >= count_tokens(start)
