"""What a number bounds, and which month or day is meant, must be what the passage says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.knowledge.bounds import Bound, bounded
from quarterdeck.knowledge.calendar_names import dates
from quarterdeck.knowledge.entail import contradicts, differs

MOST = (
    "at most 30 days", "up to 30 days", "no more than 30 days", "not longer than 30 days", "a maximum of 30 days",
    "the maximum stay is 30 days", "must not exceed 30 days", "within 30 days", "less than 30 days",
    "fewer than thirty days",
    "under 30 days", "30 days or less", "30 days at most", "no later than 30 days", "never more than 30 days",
    "最多30天", "至多 30 天", "不超过30天", "不得超过三十天", "30天以内", "30 天之内", "不晚于30天",
    "少于30天", "上限为30天", "最迟30天",
)  # fmt: skip
LEAST = (
    "at least 30 days", "no less than 30 days", "not fewer than 30 days", "a minimum of 30 days", "more than 30 days",
    "over 30 days", "exceeding 30 days", "30 days or more", "30 days or longer", "not earlier than 30 days",
    "no sooner than 30 days",
    "至少30天", "最少 30 天", "不少于30天", "不得少于三十天", "超过30天", "30天以上", "多于30天", "下限为30天", "不低于30天",
)  # fmt: skip
BEFORE = (
    "before 30 May",
    "before May 30",
    "prior to 30 May",
    "by 30 May",
    "until 30 June",
    "by the 30th",
    "30日之前",
    "30号以前",
)
AFTER = ("after 30 days", "after May 30", "after the 30th", "30天之后", "30日以后")
NEITHER = (
    "30 days",
    "exactly 30 days",
    "for 30 days a year",
    "Over the year, 30 days",
    "30天",
    "overall 30 days",
    "by 30 %",
    "after the trip 30 days",
)
READ = ((MOST, Bound.MOST), (LEAST, Bound.LEAST), (BEFORE, Bound.BEFORE), (AFTER, Bound.AFTER), (NEITHER, None))
MARKED = pytest.mark.row("K6", part="bounds")


@MARKED
@pytest.mark.parametrize(("text", "bound"), [(t, bound) for texts, bound in READ for t in texts])
def test_a_number_is_read_with_what_it_bounds(text: str, bound: Bound | None) -> None:
    ((quantity, read),) = bounded(text)

    assert quantity.number == "30"
    assert read is bound


@MARKED
@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("Returns are accepted for at least 30 days.", "Returns are accepted for at most 30 days."),
        ("Leave of at most 5 days needs a note.", "Leave of more than 5 days needs a note."),
        ("A password has up to 12 characters.", "A password has at least 12 characters."),
        ("Bags over 23 kg are carried free.", "Bags up to 23 kg are carried free."),
        ("密码最多12个字符。", "密码至少12个字符。"),
        ("发票应在30天以上提交。", "发票应在30天以内提交。"),
        ("住宿费不超过200元。", "住宿费不低于200元。"),
        ("The fair opens in May.", "The fair opens in March."),
        ("Reports are due on Tuesday.", "Reports are due on Thursday."),
        ("The form is due on 31 May.", "The form is due on 31 March."),
        ("The office closes on Saturdays.", "The office closes on Sundays."),
        ("Open on Sunday.", "Open Monday to Friday."),
        ("食堂周六开放。", "食堂周日开放。"),
        ("年审在五月进行。", "年审在三月进行。"),
        ("每周星期二开会。", "每周星期四开会。"),
        ("The audit is in May.", "年审在3月进行。"),
        ("Leave is taken after 31 March.", "Leave must be taken before 31 March."),
        ("Leave is taken after 31 March.", "Leave must be taken by 31 March."),
        ("Leave is taken before March 31.", "Leave must be taken after 31 March."),
        ("The device is erased before 24 hours.", "The device is erased after 24 hours."),
        ("Visits end after 18:00.", "Visits end by 18:00."),
        ("Come after 9 am.", "Come until 9 am."),
        ("Visits end later than 18:00.", "Visits end before 18:00."),
        ("年假必须在 3 月 31 日之后休完。", "年假必须在 3 月 31 日之前休完。"),
        ("来访应在 18:00 以后结束。", "来访应在 18:00 之前结束。"),
    ],
)
def test_what_bounds_or_dates_otherwise_is_not_supported(sentence: str, passage: str) -> None:
    assert contradicts(sentence, [passage])


@MARKED
@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("You have 30 days to return it.", "Returns are accepted for at most 30 days."),
        ("You have up to 30 days to return it.", "Returns are accepted within 30 days."),
        ("No more than 2 guests are allowed.", "At most 2 guests are allowed."),
        ("Bags up to 23 kg are free, heavier ones cost 60 EUR.", "Bags up to 23 kg are free. Bags over 23 kg cost 60 EUR."),
        ("Trips over 500 km may go by air.", "Under 500 km take the train; trips over 500 km may go by air."),
        ("请在30天内提交发票。", "发票须于30天之内提交。"),
        ("It is open on Wednesday.", "Open Monday to Friday."),
        ("It is open on Wednesdays.", "Open on working days."),
        ("The summer rate holds in July.", "The summer rate holds from June 1 to August 31."),
        ("The winter rate holds in January.", "The winter rate holds from November to February."),
        ("You may ask in March.", "In March you may ask."),
        ("May I bring a guest? In March, yes.", "In March, guests are welcome."),
        ("The audit is in March.", "年审在三月进行。"),
        ("The form is due on 31 March 2026.", "The form is due on 2026-03-31."),
        ("食堂周三开放。", "食堂周一至周五开放。"),
        ("每周三次例会。", "周四开会，每周三次例会。"),
        ("Files are kept for up to 30 days.", "Files are deleted after 30 days."),
        ("After the approval 3 days are left.", "Before the approval 3 days are left."),
        ("The rate is at least 20 % lower.", "The rate is reduced by 20 %."),
        ("Take it before 31 March.", "It must be taken by 31 March."),
        ("数据最多保留30天。", "数据在30天之后删除。"),
    ],
)
def test_what_bounds_and_dates_alike_is_supported(sentence: str, passage: str) -> None:
    assert not contradicts(sentence, [passage])


@MARKED
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("in May", {"month 5"}),
        ("You may go", set()),
        ("May we go?", set()),
        ("Sept 3 and 4 Oct", {"month 9", "month 10"}),
        ("a march of 10 km", set()),
        ("Friday through Sunday", {"day 5", "day 6", "day 7"}),
        ("5月", {"month 5"}),
        ("5个月", set()),
        ("每月", set()),
        ("星期天", {"day 7"}),
        ("on weekends", {"day 6", "day 7"}),
    ],
)
def test_names_of_months_and_days_are_read(text: str, named: set[str]) -> None:
    assert dates(text) == named


@given(st.text(alphabet="at lesmo5 03daysMarch May最至多少不超过天以内上。,.-一月周", max_size=60))
def test_no_text_differs_from_itself(text: str) -> None:
    assert not differs(text, [text])
