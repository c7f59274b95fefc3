"""Two texts that say the same agree on numbers, their signs and their units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.knowledge.entail import contradicts
from quarterdeck.knowledge.quantities import Quantity, quantities, stands_in


@pytest.mark.parametrize(
    ("text", "number", "is_negative", "unit"),
    [
        ("after 5 working days", "5", False, "day"),
        ("a 14-inch model", "14", False, "inch"),
        ("it costs €1,000.50", "1000.5", False, "EUR"),
        ("it costs EUR 7", "7", False, "EUR"),
        ("at most 25 MB", "25", False, "megabyte"),
        ("twenty-four hours", "24", False, "hour"),
        ("below -5 °C", "5", True, "celsius"),
        ("below \u22125 °C", "5", True, "celsius"),
        ("minus seven degrees", "7", True, "degree"),
        ("3 degrees below zero", "3", True, "degree"),
        ("需要 5 个工作日", "5", False, "day"),
        ("零下五度", "5", True, "degree"),
        ("百分之八十", "80", False, "%"),
        ("每人最高 60 欧元", "60", False, "EUR"),
        ("- 14 EUR for a day trip", "14", False, "EUR"),
        ("extension 7777", "7777", False, ""),
        ("试用期为 6 个月", "6", False, "month"),
        ("a budget of 1.5 million EUR", "1500000", False, "EUR"),
        ("a budget of €3,5 million", "3500000", False, "EUR"),
        ("超过 2.5 万元", "25000", False, "CNY"),
        ("opens at 8 a.m.", "8", False, "am"),
        ("opens at 8PM", "8", False, "pm"),
    ],
)
def test_a_number_is_read_with_its_sign_and_unit(text: str, number: str, is_negative: bool, unit: str) -> None:
    assert quantities(text) == {Quantity(number, is_negative, unit)}


def test_a_range_holds_no_negative_number() -> None:
    assert quantities("10-20 days") == {Quantity("10"), Quantity("20", unit="day")}


def test_a_unit_that_is_not_said_agrees_with_all() -> None:
    assert stands_in(Quantity("8"), [Quantity("8", unit="hour")])
    assert not stands_in(Quantity("8", unit="day"), [Quantity("8", unit="hour")])
    assert not stands_in(Quantity("8", is_negative=True), [Quantity("8")])


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("Versions are kept for 60 hours.", "Versions are kept for 60 days."),
        ("The limit is 25 GB.", "The limit is 25 MB."),
        ("The freezer stands at 18 °C.", "The freezer stands at -18 °C."),
        ("The bonus is 2,000 USD.", "The bonus is 2,000 EUR."),
        ("The budget is 1.5 EUR.", "The budget is 1.5 million EUR."),
        ("The office opens at 8 p.m.", "The office opens at 8 a.m."),
        ("版本保留 60 小时。", "版本保留 60 天。"),
        ("员工每年有 15 个月年假。", "员工每年有 15 天年假。"),
        ("冷库温度为 18 度。", "冷库温度为零下 18 度。"),
    ],
)
@pytest.mark.row("K6", part="quantities")
def test_the_same_number_with_another_unit_or_sign_is_a_contradiction(sentence: str, passage: str) -> None:
    assert contradicts(sentence, [passage])
    assert not contradicts(passage, [passage])


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("Versions are kept for sixty days.", "Versions are kept for 60 days."),
        ("The limit is 25.", "The limit is 25 MB."),
        ("Answers take 5 days.", "Answers take 5 working days."),
        ("密码链接 20 分钟内有效。", "The password link is valid for 20 minutes."),
        ("The limit is 1,500,000 EUR.", "The limit is 1.5 million EUR."),
        ("It opens at 8 AM.", "It opens at 8 a.m."),
        ("It takes 2 or 3 days.", "It takes 2 days, or 3 days at most."),
    ],
)
@pytest.mark.row("K6", part="quantities")
def test_other_spellings_of_the_same_quantity_agree(sentence: str, passage: str) -> None:
    assert not contradicts(sentence, [passage])


@given(st.text(alphabet="0123456789.,- –−%€$五十百万亿零下负天个月 dayslinuhEURMB°Cp٣", max_size=80))
def test_any_text_is_read_and_agrees_with_itself(text: str) -> None:
    found = quantities(text)

    assert all(stands_in(one, found) for one in found)
