"""The analyzer: how text becomes terms, the same for every engine, for the relevance cut-off and for citations.

The terms an engine indexes are those of ``core.text``. What is added here serves comparisons made above the engines: word
stems, and the terms that say what a question or a sentence is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from quarterdeck.core.text import STOP_WORDS, content_terms, ends_of, has_cjk, sentences, terms, without_measures

__all__ = [
    "ANALYZER",
    "Vocabulary",
    "presplit",
    "query_terms",
    "question_terms",
    "searched",
    "statements",
    "stem",
    "topic_terms",
    "topic_words",
    "vocabulary",
]

ANALYZER = "words+bigrams/1"  # changes whenever the terms of `core.text` do: an index written with others is refused
MAX_QUERY_TERMS = 128  # a pasted page as a query would otherwise visit every posting list
MAX_QUERY = 2_000  # characters that are read of a question to search for it

# Words that frame a question or a sentence without saying what it is about. They are searched, but prove no relevance.
_FRAME = STOP_WORDS | frozenset(
    "about after again all also am another anyone before being between both but could did doing don else etc every find "
    "get gets getting give go going got had having he help her here him his i if inside into isn just know let like "
    "make many me might more most much must my need needs new no not now off once one only other our out over own "
    "percent please same she should show so some someone such take tell them then they too under until up us use used using "
    "very via want way we well while whom whose why within without work would yes yet you your".split()
)
_FRAME_CJK = re.compile(
    "请问|为什么|什么时候|是什么|什么|怎么样|怎么办|怎么|怎样|如何|哪些|哪个|哪里|哪儿|哪位|哪一|多少|多长时间|多久|多长|几个|是否|"
    "能不能|能否|不能|可不可以|可以|是不是|有没有|没有|需要|应该|想要|告诉|一下|自己|有人|每个|每次|情况|我们|你们|他们|她们|它们|"
    "这个|那个|这些|那些|以及|或者|关于|因为|所以|如果|但是|时候|有关|之前|之后|之内|以内|特别|非常|"
    "[的了吗呢吧啊呀是我你您他她它和与或及就都也还被把让给谁哪这那之其在很太着]"
)
_SUFFIXES = (  # tried in order; the number is how many letters must be left
    ("ations", 4, ""), ("ation", 4, ""), ("ments", 4, ""), ("ment", 4, ""), ("ions", 4, ""), ("ion", 4, ""),
    ("ables", 4, ""), ("able", 4, ""), ("als", 4, ""), ("al", 4, ""), ("ness", 4, ""), ("ings", 3, ""), ("ing", 3, ""),
    ("ies", 2, "y"), ("ied", 2, "y"), ("sses", 2, "ss"), ("xes", 2, "x"), ("ches", 2, "ch"), ("shes", 2, "sh"),
    ("ers", 4, ""), ("er", 4, ""), ("eed", 1, "ee"), ("ed", 3, ""), ("ly", 4, ""), ("s", 3, ""),
)  # fmt: skip
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_KEEPS_S = ("ss", "us", "is")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|a\.m|p\.m|etc|vs|approx|nr|dr|mr|mrs|ms|fig|max)\.\Z", re.IGNORECASE)
_ITEM_NUMBER = re.compile(r"\W{0,8}(?:\d{1,3}|[A-Za-z])[.)]\Z")


def presplit(text: str) -> str:
    """The terms of `text` with spaces between, which any engine's simplest tokeniser takes apart again."""
    return " ".join(terms(text))


def query_terms(query: str) -> list[str]:
    """What to look for: unique content terms in order, at most 128. Empty when the query holds no word."""
    return _bounded(content_terms(query))


def searched(question: str) -> str:
    """What is searched for: of a question too long for it the beginning and the end, where people say what they want.

    All that is done to find passages looks at the question many times over, so its length is everybody's time.
    """
    return ends_of(question, MAX_QUERY // 2)


@lru_cache(maxsize=20_000)  # pure, and a search stems the words of every candidate
def stem(word: str) -> str:
    """A key that inflected forms of an English word share. Other scripts, names with digits and short words are kept."""
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    for suffix, left, instead in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= left and not (suffix == "s" and word.endswith(_KEEPS_S)):
            word = word[: -len(suffix)] + instead
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiosl":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


def topic_terms(text: str) -> list[str]:
    """Stems and bigrams that say what `text` is about: unique, in order, perhaps none.

    Chinese is cut at question and function words first, so that no bigram straddles one.
    """
    plain = _FRAME_CJK.sub(" ", text) if has_cjk(text) else text
    kept = (
        term for term in terms(plain) if term not in _FRAME and not (len(term) == 1 and term.isascii() and term.isalpha())
    )
    return list(dict.fromkeys(stem(term) for term in kept))


def topic_words(text: str) -> list[str]:
    """`topic_terms` as they are written: whole words, and runs of Chinese instead of bigrams."""
    plain = _FRAME_CJK.sub(" ", text) if has_cjk(text) else text
    return list(dict.fromkeys(word for word in _WORD.findall(plain) if topic_terms(word)))


def question_terms(question: str) -> list[str]:
    """What a question is about: its topic, without the words that ask for a number unless nothing else is left.

    At most 128 terms, as each is held against every candidate and every sentence of them.
    """
    return _bounded(topic_terms(without_measures(question)) or topic_terms(question))


def _bounded(every: list[str]) -> list[str]:
    """Of very many terms the first and the last."""
    half = MAX_QUERY_TERMS // 2
    return every if len(every) <= MAX_QUERY_TERMS else [*every[:half], *every[-half:]]


class Vocabulary:
    """The words of a text, asked for one topic term at a time."""

    __slots__ = ("_stems", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._stems = frozenset(stem(term) for term in terms(text))

    def __contains__(self, term: object) -> bool:
        # A single CJK character is no term of a longer run, so it is looked for in the text itself.
        return term in self._stems or (isinstance(term, str) and len(term) == 1 and has_cjk(term) and term in self._text)

    def says(self, words: Sequence[str]) -> bool:
        """Whether every one of `words`, stems or Chinese of any length, occurs."""
        # A loop and the cheap question first: a search asks this of each candidate for each synonym of each term.
        for word in words:
            if word not in self._stems and (word.isascii() or not has_cjk(word) or word not in self._text):
                return False
        return True

    def share(self, wanted: list[str]) -> float:
        """How much of `wanted` occurs, 0 to 1; 0 when nothing is wanted."""
        return sum(term in self for term in wanted) / len(wanted) if wanted else 0.0


@lru_cache(maxsize=1024)  # pure; the passages of one question are those of the next, and an answer is checked against them
def vocabulary(text: str) -> Vocabulary:
    """The vocabulary of a text, kept for the next who asks; about 10 kB each."""
    return Vocabulary(text)


def statements(text: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences, where neither an abbreviation (``e.g.``) nor the number of a list item ends one."""
    start = None
    for left, right in sentences(text):
        start = left if start is None else start
        goes_on = text[right : right + 1] in (" ", "\t")
        if goes_on and (_ABBREVIATION.search(text, max(start, right - 8), right) or _ITEM_NUMBER.match(text, start, right)):
            continue
        yield start, right
        start = None
    if start is not None:
        yield start, len(text.rstrip())
