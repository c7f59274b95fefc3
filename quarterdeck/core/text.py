"""Reading text in English and Chinese: words, terms and sentences. One analysis for index, citations and simulation."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = [
    "CJK",
    "STOP_WORDS",
    "content_terms",
    "ends_of",
    "has_cjk",
    "sentences",
    "terms",
    "without_hidden",
    "without_measures",
]

# What a character class of a pattern holds to match Chinese, Japanese and Korean.
CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
_TERM = re.compile(rf"([{CJK}]+)|([^\W_{CJK}]+)")
_HAS_CJK = re.compile(rf"[{CJK}]")
# A stop inside a number, an abbreviation or an address is followed by no space, so it ends no sentence.
_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?])(?=[\s\"'”’)\]]|$)|\n+")

# Controls that show a text in another order than a model reads it, and tag characters, which nobody sees and models read.
_HIDDEN = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")

STOP_WORDS = frozenset(
    "a an and any are as at be been by can do does for from has have how in is it its of on or than that the there these "
    "this those to was were what when where which who will with".split()
)

# Words of a question that ask for a number and stand in no answer: "how big", "how long does it last", "the maximum size".
_MEASURES = re.compile(
    r"\bhow (?:high|large|big|long|old|wide|heavy|fast|quickly|soon|often|far|early|late|tall|deep|strong|many|much)\b"
    r"|\b(?:maximum|minimum|max|min|size|amount|length|duration)\b"
    r"|几[次点天个年岁]|哪[天年]|多少钱|最[多少长短晚早大小高低久快慢]|至[多少]",
    re.IGNORECASE,
)
_BREAK = re.compile("[\\s\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]")  # where no word is torn apart
_HOW_LONG = re.compile(r"\bhow long\b", re.IGNORECASE)
_LASTS = re.compile(r"\b(?:last|take)s?\b", re.IGNORECASE)


def without_measures(question: str) -> str:
    """The question without the words that only say which kind of number it asks for."""
    rest = _MEASURES.sub(" ", question)
    return _LASTS.sub(" ", rest) if _HOW_LONG.search(question) else rest


def without_hidden(text: str) -> str:
    """`text` without what a model would read and a person could not see: bidirectional controls and tag characters."""
    return text if text.isascii() else _HIDDEN.sub("", text)


def ends_of(text: str, each: int) -> str:
    """The beginning and the end of a long text, cut at words and a line apart; a short one as it is.

    Args:
        each: Characters of either end, at most; a text of twice as many is short.
    """
    if len(text) <= 2 * each:
        return text
    first, last = text[:each], text[-each:]
    ends = [match.end() for match in _BREAK.finditer(first)]
    starts = _BREAK.search(last)
    return f"{first[: ends[-1] if ends else None]}\n{last[starts.start() if starts else 0 :]}"


def has_cjk(text: str) -> bool:
    """True if any character is Chinese, Japanese or Korean."""
    return _HAS_CJK.search(text) is not None


def terms(text: str) -> list[str]:
    """Lower-cased words in order; a run of CJK characters gives its overlapping bigrams, a single one itself."""
    found: list[str] = []
    for run, word in _TERM.findall(text.lower()):
        if word:
            found.append(word)
        elif len(run) == 1:
            found.append(run)
        else:
            found.extend(run[i : i + 2] for i in range(len(run) - 1))
    return found


def content_terms(text: str) -> list[str]:
    """`terms` without English stop words, unique, in order; with them if nothing else is left."""
    every = list(dict.fromkeys(terms(text)))
    return [term for term in every if term not in STOP_WORDS] or every


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans (start, end) of the sentences of `text`, without surrounding white space, never empty."""
    start = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)):
        piece = text[start:end]
        stripped = piece.strip()
        if stripped:
            left = start + piece.index(stripped[0])
            yield left, left + len(stripped)
        start = end
