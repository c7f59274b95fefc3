"""Does a passage support a sentence? A lexical check: quick, the same every time, in English and Chinese.

A sentence is supported when enough of its topic terms occur in what it cites and nothing in it is contradicted on the face
of it: every number, code, address and link must occur, and the part of the passage that says the most similar thing must not
be negated where the sentence is not, or the other way round. A paraphrase in quite other words fails; that is a false alarm
and costs one more question to the model. A wrong sentence in the passage's own words passes; no lexical check can see it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.analyze import Vocabulary, statements, topic_terms

__all__ = ["ENOUGH", "contradicts", "differs", "support"]

ENOUGH = 0.5  # share of the topic terms of a sentence that its passages must hold
_ALIKE = 0.15  # how much less similar than the best a part of the passage may be and still speak for or against

_CLAUSE_END = re.compile(r"(?<=[,;:，；：、])(?!\d)|\s+(?=(?:but|and|or|unless|except|if|when|while|because)\b)")
_LITERAL = re.compile(r"https?://[^\s)\]>，。；、]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_CODE = re.compile(r"\b(?:[A-Z]{2,}|[A-Za-z]+\d[A-Za-z0-9]*)\b", re.ASCII)
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*", re.ASCII)
_THOUSANDS = re.compile(r",(?=\d{3}(?:\D|\Z))")
_WORD_VALUES = {
    word: value
    for words, values in (
        ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen", range(1, 16)),
        ("sixteen seventeen eighteen nineteen", range(16, 20)),
        ("twenty thirty forty fifty sixty seventy eighty ninety hundred", range(20, 101, 10)),
        ("thousand million", (10**3, 10**6)),
    )
    for word, value in zip(words.split(), values, strict=True)
}
_UNIT = "one|two|three|four|five|six|seven|eight|nine"
_TEEN = "ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SMALL = rf"(?:(?:{_TENS})(?:[-\s](?:{_UNIT}))?|{_TEEN}|{_UNIT})"
_BELOW_1000 = rf"{_SMALL}(?:\shundred(?:\s(?:and\s)?{_SMALL})?)?"
_WORD_NUMBER = re.compile(rf"\b{_BELOW_1000}(?:\s(?:thousand|million)(?:\s{_BELOW_1000})?)*\b", re.IGNORECASE)
_OTHER_DIGIT = re.compile(r"[^\W0-9a-zA-Z_]")
_CJK_NUMBER = re.compile(
    "百分之([一二两三四五六七八九十百零]+)"
    "|([一二两三四五六七八九十百千万亿零]+)(?=个?[天日年月周次元小分工名位条项份倍楼层欧美块岁人台点号])"
)
_CJK_LARGE = re.compile(r"(?<![0-9A-Za-z_.,])([\d,]+(?:\.\d+)?)\s?([万亿])")
_CJK_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_NO_COUNT = re.compile(r"\bone\b|一(?=[个次位名点])", re.IGNORECASE)  # "choose one", "一个": articles, as a rule

# Only words that turn a statement round. "Not only", "no later than", "不仅" and "不超过" do not.
_NEGATION = re.compile(
    r"\bnot\b(?!\s+(?:only|just|merely|later|more|less|exceed\w*)\b)|n['’ʼ]t\b"
    r"|\b(?:cannot|never|none|nobody|nothing|neither|without|forbidden|prohibited|banned|disallowed|impossible)\b"
    r"|\bno\b(?!\s+(?:later|more|less|fewer|sooner|matter)\b)(?!\s*,)"
    r"|不(?![仅但过断同久论少错超晚迟低高早限]|好意思)|没(?!关系)|(?:尚|从)未|未[经能获]|[并绝]非|无(?![线论])|禁止|严禁|请勿|切勿",
    re.IGNORECASE,
)


def support(sentence: str, texts: Sequence[str]) -> float:
    """The share of the sentence's topic terms that occur in any of the texts, 0 to 1. Without topic terms it is 1."""
    topic = topic_terms(sentence)
    return Vocabulary("\n".join(texts)).share(topic) if topic else 1.0


def contradicts(sentence: str, texts: Sequence[str]) -> bool:
    """True if the sentence holds a number, code, address or negation that the texts do not bear out."""
    return differs(sentence, texts) or _negated_otherwise(sentence, "\n".join(texts))


def differs(sentence: str, texts: Sequence[str]) -> bool:
    """True if the sentence holds a number, code or address that stands in none of the texts."""
    whole = "\n".join(texts)
    lowered = whole.lower()
    return (
        not _numbers(_NO_COUNT.sub("", sentence)) <= _numbers(whole)
        or any(literal.rstrip(".").lower() not in lowered for literal in _LITERAL.findall(sentence))
        or not _codes(sentence) <= _codes(whole.upper())
    )


def _codes(text: str) -> frozenset[str]:
    """Abbreviations and names with digits: the words that cannot be said in other words."""
    return frozenset(code.upper() for code in _CODE.findall(text) if topic_terms(code))


def _numbers(text: str) -> frozenset[str]:
    """All numbers of `text` in one spelling: no thousands commas, no closing zeros, words and characters as digits."""
    if not text.isascii():
        text = _CJK_LARGE.sub(_written_out, _OTHER_DIGIT.sub(_as_digit, text))
    digits = (_plain(_THOUSANDS.sub("", number)) for number in _NUMBER.findall(text))
    words = (str(_word_value(found)) for found in _WORD_NUMBER.findall(text))
    characters = (str(_cjk_value(part or run)) for part, run in _CJK_NUMBER.findall(text)) if has_cjk(text) else ()
    return frozenset({*digits, *words, *characters})


def _as_digit(found: re.Match[str]) -> str:
    """A digit of another script, such as a full-width one, as ours; anything else as it is."""
    return str(unicodedata.decimal(found[0], found[0]))


def _written_out(found: re.Match[str]) -> str:
    return f"{Decimal(found[1].replace(',', '') or 0) * _CJK_UNITS[found[2]]:f}"


def _plain(number: str) -> str:
    whole, dot, part = number.replace(",", ".").rpartition(".")
    if not dot:
        return number.lstrip("0") or "0"
    return f"{whole}.{part.rstrip('0')}".rstrip(".")


def _word_value(words: str) -> int:
    return _value(_WORD_VALUES[word] for word in re.split(r"[-\s]+", words.lower()) if word in _WORD_VALUES)


def _cjk_value(run: str) -> int:
    return _value(_CJK_DIGITS[each] if each in _CJK_DIGITS else _CJK_UNITS[each] for each in run)


def _value(parts: Iterable[int]) -> int:
    """The number whose words are `parts`: a ten of Chinese and whatever is a hundred or more multiply what came before."""
    total = section = digit = 0
    for part in parts:
        if part >= 10**4 or (part == 10**3 and section):
            total += (section + digit or 1) * part
            section = digit = 0
        elif part in (100, 1000) or part == 10:
            section += (digit or 1) * part
            digit = 0
        else:
            digit += part
    return total + section + digit


def _negated_otherwise(sentence: str, text: str) -> bool:
    """True if some clause of the sentence is negated and all the parts most like it are not, or the other way round."""
    parts = [(Vocabulary(part), _negated(part)) for part in _parts(text)]
    for clause in _clauses(sentence):
        topic = topic_terms(clause)
        likeness = [(words.share(topic), negated) for words, negated in parts]
        best = max((share for share, _ in likeness), default=0.0)
        if best < ENOUGH:
            continue  # nothing says anything like it: that is for `support` to judge
        if all(negated is not _negated(clause) for share, negated in likeness if share >= best - _ALIKE):
            return True
    return False


def _negated(text: str) -> bool:
    return len(_NEGATION.findall(text)) % 2 == 1


def _parts(text: str) -> Iterator[str]:
    """Sentences and, where they have several, their clauses: "if it is not yours, return it" affirms the returning."""
    for start, end in statements(text):
        sentence = text[start:end]
        yield sentence
        clauses = _clauses(sentence)
        if len(clauses) > 1:
            yield from clauses


def _clauses(sentence: str) -> list[str]:
    return [clause for clause in _CLAUSE_END.split(sentence) if clause.strip()]
