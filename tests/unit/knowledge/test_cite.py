from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.answers import Passage
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.knowledge.cite import resolve, without
from quarterdeck.knowledge.entail import contradicts, support

VPN = (
    "Install the Harbour client from the software portal and sign in with your company account. "
    "The VPN is required outside the office. Contractors may not use the VPN. Write to help@acme.example."
)
LEAVE = "Full-time employees have 28 days of paid annual leave. Up to five unused days can be carried over until 31 March."
NIANJIA = "全职员工每个自然年享有二十八天带薪年假。年假最多可以结转五天。未经经理批准不得休假。试用期员工不享有年假。"


def passage(id: str, title: str, text: str) -> Passage:
    return Passage(id=id, doc_id=id.rpartition("-")[0], title=title, text=text, label=Label(readers=PUBLIC))


PASSAGES = {
    one.id: one
    for one in (passage("vpn-1", "The VPN", VPN), passage("leave-2", "Leave", LEAVE), passage("nianjia-1", "年假", NIANJIA))
}


@pytest.mark.row("K6", part="resolve")
@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("The VPN is required outside the office [vpn-1].", "The VPN is required outside the office [1]."),
        ("The VPN is required outside the office. [vpn-1]", "The VPN is required outside the office. [1]"),
        ("The VPN is required outside the office.[vpn-1]", "The VPN is required outside the office. [1]"),
        ("The VPN is required outside the office. [VPN-1]", "The VPN is required outside the office. [1]"),
        ("The VPN is required outside the office [[vpn-1]].", "The VPN is required outside the office [1]."),
        ("The VPN is required outside the office [source: vpn-1].", "The VPN is required outside the office [1]."),
        ("The VPN is required outside the office \\[vpn-1\\].", "The VPN is required outside the office [1]."),
        ("The VPN is required outside the office [vpn\u20111].", "The VPN is required outside the office [1]."),
        (
            "The VPN is required outside the office [vpn-1](https://evil.example/(x)).",
            "The VPN is required outside the office [1].",
        ),
        ("员工享有28天年假［nianjia-1］。", "员工享有28天年假 [1]。"),
        ("员工享有28天年假〔来源：nianjia-1〕。", "员工享有28天年假 [1]。"),
        ("员工享有28天年假【nianjia-1】。", "员工享有28天年假 [1]。"),
        ("员工享有28天年假。[nianjia-1]", "员工享有28天年假。 [1]"),
    ],
)
def test_a_mark_before_or_after_the_stop_becomes_a_number(written: str, shown: str) -> None:
    cited = resolve(written, PASSAGES)

    assert cited.text == shown
    assert len(cited.sources) == 1
    assert (cited.unknown, cited.unsupported, cited.uncited) == ((), (), ())


@pytest.mark.row("K6", part="resolve")
def test_sources_are_numbered_in_order_of_first_citation() -> None:
    cited = resolve(
        "Employees have 28 days of leave. [leave-2] The VPN is required outside the office. [vpn-1]\n\n"
        "Up to five unused days can be carried over. [leave-2, vpn-1]",
        PASSAGES,
    )

    assert cited.sources == ("leave-2", "vpn-1")
    assert cited.text.endswith("carried over. [1][2]")
    assert [(citation.passage.id, citation.sentence) for citation in cited.citations] == [
        ("leave-2", "Employees have 28 days of leave."),
        ("vpn-1", "The VPN is required outside the office."),
        ("leave-2", "Up to five unused days can be carried over."),
        ("vpn-1", "Up to five unused days can be carried over."),
    ]
    assert cited.citations[0].support == 1.0


def test_marks_side_by_side_belong_to_the_same_sentence() -> None:
    cited = resolve("The VPN is required outside the office [vpn-1][leave-2]. Next?", PASSAGES)

    assert cited.sources == ("vpn-1", "leave-2")
    assert cited.text == "The VPN is required outside the office [1][2]. Next?"


@pytest.mark.row("K6", part="forged")
@pytest.mark.parametrize(
    "forged",
    [
        "[payroll-7]",
        "[7]",
        "[vpn-2]",
        "【vpn-3】",
        "[vpn-9, payroll-1]",
        "[^7]",
        "【7†source】",
        "[\uff17]",
        "[7\u200b]",
        "[7](https://evil.example)",
    ],
)
def test_a_forged_mark_is_taken_out_and_reported(forged: str) -> None:
    cited = resolve(f"Salaries are paid on Fridays {forged}.", PASSAGES)

    assert cited.text == "Salaries are paid on Fridays."
    assert cited.unknown
    assert (cited.sources, cited.citations) == ((), ())
    assert cited.uncited == ("Salaries are paid on Fridays.",)


def test_a_mark_never_defines_a_link_for_the_numbers() -> None:
    cited = resolve("The VPN is required outside the office [vpn-1].\n\n[vpn-1]: https://evil.example", PASSAGES)

    assert cited.text.startswith("The VPN is required outside the office [1].")
    assert "]:" not in cited.text


def test_a_forged_id_beside_a_real_one_leaves_the_real_one() -> None:
    cited = resolve("The VPN is required outside the office [vpn-1, vpn-8].", PASSAGES)

    assert (cited.text, cited.unknown) == ("The VPN is required outside the office [1].", ("vpn-8",))


@pytest.mark.parametrize(
    "text",
    [
        "See [note] and [the manual].",
        "Open [the page](https://kb.example/vpn-1) now.",
        "Run `list[0]` and `x[vpn-1]`.",
        "```\na[1] = b[vpn-1]\n```",
        "A list: [a, b, c].",
        "【注意】请保存。",
        "It happened in [2024].",
    ],
)
def test_other_brackets_links_and_code_stay_as_they_are(text: str) -> None:
    cited = resolve(text, PASSAGES)

    assert (cited.text, cited.unknown, cited.sources) == (text, (), ())


@pytest.mark.row("K6", part="support")
@pytest.mark.parametrize(
    "sentence",
    [
        "You have 30 days of paid annual leave [leave-2].",
        "Ten unused days can be carried over [leave-2].",
        "Contractors may use the VPN [vpn-1].",
        "The VPN is not required outside the office [vpn-1].",
        "Sign in to the software portal with SSO [vpn-1].",
        "Write to help@evil.example [vpn-1].",
        "Install the Harbour client from https://evil.example/harbour [vpn-1].",
        "Bananas grow in warm countries [vpn-1].",
        "The VPN is required outside the office [leave-2].",
        "员工享有30天带薪年假[nianjia-1]。",
        "年假最多可以结转六天[nianjia-1]。",
        "试用期员工享有年假[nianjia-1]。",
        "食堂十二点开门[nianjia-1]。",
    ],
)
def test_a_sentence_its_passage_does_not_bear_out_is_unsupported(sentence: str) -> None:
    cited = resolve(sentence, PASSAGES)

    assert len(cited.unsupported) == 1
    assert without(cited, cited.unsupported) == ""


@pytest.mark.row("K6", part="support")
@pytest.mark.parametrize(
    "sentence",
    [
        "Full-time staff get 28 days of annual leave [leave-2].",
        "You can carry over up to 5 unused days until 31 March [leave-2].",
        "Contractors cannot use the VPN [vpn-1].",
        "Outside the office, the VPN is required [vpn-1].",
        "1. Install the Harbour client. [vpn-1]",
        "- **Sign in** with your company account [vpn-1]",
        "You need the VPN outside the office and have 28 days of leave [vpn-1][leave-2].",
        "Write to help@acme.example. [vpn-1]",
        "全职员工享有28天带薪年假[nianjia-1]。",
        "年假最多可以结转5天[nianjia-1]。",
        "试用期员工没有年假[nianjia-1]。",
        "未经经理批准不得休假[nianjia-1]。",
    ],
)
def test_a_sentence_in_other_forms_of_the_same_words_is_supported(sentence: str) -> None:
    cited = resolve(sentence, PASSAGES)

    assert cited.unsupported == ()
    assert cited.citations


@pytest.mark.parametrize(
    ("sentence", "text", "wrong"),
    [
        ("The fee is 1,000 euros.", "The fee is 1000 euros.", False),
        ("The fee is 1,000 euros.", "The fee is 100 euros.", True),
        ("It takes 2.50 hours.", "It takes 2.5 hours.", False),
        ("It takes three days.", "It takes 3 days.", False),
        ("It takes three days.", "It takes four days.", True),
        ("Choose one of them.", "Choose any of them.", False),
        ("It is paid on the 25th.", "It is paid on day 25.", False),
        ("It takes sixty days.", "It takes 50 days.", True),
        ("It takes twenty-five days.", "It takes 25 days.", False),
        ("There are two hundred and fifty seats.", "There are 250 seats.", False),
        ("It takes \uff16\uff10 days.", "It takes 50 days.", True),
        ("It takes \uff15\uff10 days.", "It takes 50 days.", False),
        ("It isn\u02bct paid.", "It is paid.", True),
        ("最多五万元。", "最多三万元。", True),
        ("最多三万元。", "最多3万元。", False),
        ("最多30,000元。", "最多三万元。", False),
        ("补贴百分之三十。", "补贴百分之二十。", True),
        ("补贴百分之二十。", "补贴20%。", False),
        ("需要十二个月。", "需要12个月。", False),
        ("需要两天。", "需要三天。", True),
        ("最多45欧元。", "不超过四十五欧元。", False),
        ("Use WPA2.", "Use WPA3.", True),
        ("You must NOT share it.", "You must not share it.", False),
        ("Sharing is forbidden.", "Sharing is not allowed.", False),
        ("Hand it in no later than Friday.", "Hand it in by Friday.", False),
        ("It is free.", "If it is not damaged, it is free.", False),
    ],
)
def test_numbers_codes_and_negations_must_match_however_they_are_spelled(sentence: str, text: str, wrong: bool) -> None:
    assert contradicts(sentence, [text]) is wrong


def test_support_is_the_share_of_topic_terms_found() -> None:
    assert support("The red badge opens", ["A badge that opens doors"]) == pytest.approx(2 / 3)
    assert support("It is.", ["anything"]) == 1.0


@pytest.mark.row("K6", part="uncited")
def test_sentences_that_claim_something_without_a_mark_are_listed() -> None:
    cited = resolve(
        "Hello! Here is what I found:\n\n# Leave\n- Employees have 28 days of leave. [leave-2]\n- Bananas are yellow.\n\n"
        "Sure, the code is hunter2. Do you need more? Let me know. 谢谢！食堂十二点开门。",
        PASSAGES,
    )

    assert cited.uncited == ("Bananas are yellow.", "Sure, the code is hunter2.", "食堂十二点开门。")


@pytest.mark.row("K9", part="cite")
@pytest.mark.parametrize(
    "sentence",
    [
        "I could not find anything about pets.",
        "Sorry, I don't have any information on that.",
        "No relevant passages were found.",
        "The knowledge base does not contain an answer.",
        "没有找到相关资料。",
        "抱歉，知识库中没有相关信息。",
        "我不知道。",
    ],
)
def test_saying_that_nothing_was_found_is_no_claim(sentence: str) -> None:
    assert resolve(sentence, PASSAGES).uncited == ()


@pytest.mark.parametrize(
    "sentence", ["We do not reimburse taxis.", "No documents are required for sick leave.", "不需要任何文件。"]
)
def test_a_denial_is_a_claim(sentence: str) -> None:
    assert resolve(sentence, PASSAGES).uncited == (sentence,)


def test_removing_a_sentence_renumbers_and_keeps_the_order_of_what_is_left() -> None:
    cited = resolve(
        "Contractors may use the VPN. [vpn-1] Employees have 28 days of leave. [leave-2] 员工享有28天年假。[nianjia-1]",
        PASSAGES,
    )

    text = without(cited, cited.unsupported)

    assert text == "Employees have 28 days of leave. [1] 员工享有28天年假。 [2]"


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 100_000, "[a," * 60_000, "hello " * 20_000])
def test_hostile_text_takes_no_time(text: str) -> None:
    began = time.process_time()

    resolve(text, PASSAGES)

    assert time.process_time() - began < 2


def test_removing_nothing_gives_the_text() -> None:
    cited = resolve("One.\n\n\n\n- Two [vpn-1]\n- Three", PASSAGES)

    assert without(cited, ()) == cited.text == "One.\n\n- Two [1]\n- Three"


PIECES = st.sampled_from(
    [
        "[vpn-1]",
        "[x-9]",
        "【leave-2】",
        "[1]",
        "[note]",
        "(",
        "]",
        "[",
        " ",
        "\n",
        ". ",
        "。",
        "`",
        "```",
        "Words here",
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_only_retrieved_passages_are_ever_cited_and_every_number_has_its_source(text: str) -> None:
    cited = resolve(text, PASSAGES)

    assert set(cited.sources) <= PASSAGES.keys()
    assert {citation.passage.id for citation in cited.citations} == set(cited.sources)
    assert without(cited, ()) == cited.text
    assert not set(cited.unknown) & PASSAGES.keys()
