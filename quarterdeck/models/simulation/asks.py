"""What the clauses of a message want: an act to be done, something to be known, or nothing in particular."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from quarterdeck.core.text import has_cjk
from quarterdeck.models.simulation.language import concepts, stem
from quarterdeck.models.simulation.verbs import NOUN_VERBS, act_of, chinese_act

__all__ = ["Ask", "Kind", "is_follow_up", "read_asks", "small_talk"]


class Kind(StrEnum):
    """request: do it. how_to: how is it done. question: what is. statement: so it is."""

    REQUEST = "request"
    HOW_TO = "how_to"
    QUESTION = "question"
    STATEMENT = "statement"


@dataclass(frozen=True, slots=True)
class Ask:
    """One clause.

    Attributes:
        act: Class of the verb of a request, None when the verb is unknown or there is none.
        verb: Stem of that verb, empty when there is none.
    """

    text: str
    kind: Kind
    act: str | None = None
    verb: str = ""


_MOST = 12  # clauses that are read of either end of a message

_CLAUSE = re.compile(
    r"(?<=[.!?])\s+|\n+|(?<=[。！？；;])\s*|,?\s+(?:and\s+also(?!\s+(?:for|in|at|on|to|with|from|of)\b)|and\s+then|"
    r"and\s+please|as\s+well\s+as\s+to|then|also(?!\s+(?:for|in|at|on|to|with|from|of)\b))\s+(?=[a-z])|"
    r",\s*(?=(?:please|kindly|just|but|instead|only|can you|could you|would you|how|what|when|where|who|which)\b)|"
    r",?\s+and\s+(?=(?:how|what|when|where|who|which|can you|could you)\b)|"
    r",\s+and\s+(?=(?:is|are|was|do|does|did|may|can|could|will|would|should|must|have|has|am)\s+(?:i|we|you|it|they|"
    r"there|the|a|an|my|our|any|\w+)\b[^.]*\?)|"
    r"\s+and\s+(?=(?:(?:is|are)\s+(?:there|it|they)|(?:do|does|did|may|can|could|should|must)\s+"
    r"(?:i|we|you|it|they|the|a|an|my|our|any|(?-i:[A-Z]\w+)))\b[^.]*\?)|"
    r"[，,]?\s*(?:另外|还有|同时|并且|然后|顺便)[，,]?|[，,]\s*(?=请(?!问)|帮|麻烦)",
    re.IGNORECASE,
)
_AND_VERB = re.compile(
    r"(?:,\s*(?:and\s+|so\s+)?|\s+and\s+)(?=([a-z]+)\s+(?:a|an|the|my|our|me|him|her|them|it|his|their|all|for|to|in|"
    r"of|whether)\b)"
)
_LEAD = re.compile(
    r"^(?:(?:hi|hello|hey|dear \w+|good (?:morning|afternoon|evening)|ok|okay|so|then|and|also|now|yes|sure|great|"
    r"thanks|thank you|"
    r"first|please|kindly|just|well|but|next|finally)\b[\s,.!:]*)+",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(?:(?:can|could|would|will) you(?: please| kindly)?|(?:i am|i'm) (?:trying|looking|going) to|"
    r"i(?: would|'d)(?: really)? (?:like|love)(?: you)? to|i (?:want|need|wish|have)(?: you)? to|help me(?: to)?|"
    r"let(?:'s| us| me)|"
    r"go ahead and|would you mind|we (?:want|need) to|i'll)\b\s*(?:please|kindly)?\s*",
    re.IGNORECASE,
)
_WANT_THING = re.compile(
    r"^(?:i|we)(?: would| 'd|'d)? (?:want|need|like|require)\s+(?:a|an|another|new|some|one|two|three|\d+)\s", re.I
)
_HOW_TO = re.compile(
    r"\bhow (?:do|can|should|would|could|to|does|is|are|did|may|might)\b|\bwhat (?:is|are|'s) the (?:steps?|process|"
    r"procedure|way)\b|"
    r"\bwhere (?:do|can|should) i\b|\bwho (?:do|can|should) i\b|\bwhat (?:should|must) i (?:have|do)\b|\bexplain\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"^(?:(?:in|at|on|by|to|for|from|with|under|until|till|since|after|within|of|about) "
    r"(?=(?:what|when|which|whom|whose|where|how)\b))?"
    r"(?:what|when|where|who|whose|whom|which|why|how|is|are|was|were|do|does|did|has|have|can|could|may|should|will|would|"
    r"am|any)(?:'s)?\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:do not|don't|dont|never|without|not to|no need to)\b|(?:不要|别|不用|无需|先不)", re.IGNORECASE)
_NOUN_AFTER = re.compile(
    r"^(?:status|number|numbers|id|ids|history|list|details?|info|information|policy|state|progress|prices?|costs?|"
    r"of|is|was|are|were|"
    r"system|tickets?\s+(?:are|is|assigned|in|of)|procedure|process|rules?|limits?)\b",
    re.IGNORECASE,
)
_KNOW = frozenset("know understand learn ask hear wonder figure confirm whether".split())

_ZH_POLITE = re.compile(
    r"请(?!问|假)|帮我|帮忙|麻烦|替我|给我|我要|我想(?!知道|问|了解|请问)|我需要|能不能|能否|可以帮|想请|劳驾"
)
_ZH_HOW_TO = re.compile(
    r"怎么|怎样|如何|流程|步骤|是否可以|可不可以|可以.{0,20}吗|哪里可以|去哪|为什么|为何|需要什么|要多久|多久|规定|政策是"
)
_ZH_QUESTION = re.compile(r"[？?]|吗|呢|什么|多少|几[个天次点岁人年月]|哪|谁|是否|是不是|有没有|何时|请问|多久|多长")
_LEANS = re.compile(r"^\s*(?:and|what about|how about|or|but what|also for|same for|then)\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|those|these|he|she|him|her|his|hers)\b|\bthis\b(?! (?:year|month|week|quarter|"
    r"morning|afternoon))|"
    r"(?:^|\b(?:about|is|was|does|do|did|can|for|with|to|of|like|after|before))\s+that\b",
    re.IGNORECASE,
)
_ZH_LEANS = re.compile(r"^\s*(?:那|还有|另外|以及)|呢[？?]?\s*$")
_ZH_PRONOUN = re.compile(r"它|他们|她们|这个|那个|这些|那些|其中|上述|刚才|此")
_STANDS_ALONE = 5  # a message with so much content of its own needs no other to be understood
_SMALL_TALK = re.compile(
    r"^(?:(?P<greeting>hi|hello|hey|good (?:morning|afternoon|evening)|你好|您好|嗨|早上好|大家好|在吗)|"
    r"(?P<thanks>thanks|thank you|thx|cheers|谢谢|多谢|感谢)|"
    r"(?P<help>what can you do|who are you|what are you|help|how can you help(?: me)?|你能做什么|你是谁|你会什么|帮助))"
    r"(?: there| all| everyone| team| so much| very much| a lot|你们|了|你)?[\s!.,?？！。，~]*$",
    re.IGNORECASE,
)


def small_talk(text: str) -> str | None:
    """``greeting``, ``thanks`` or ``help`` if the message is nothing but that."""
    match = _SMALL_TALK.match(text.strip())
    return match.lastgroup if match else None


def is_follow_up(text: str) -> bool:
    """True if the message leans on what was said before."""
    own = len(concepts(text, translate=False))
    if has_cjk(text):
        leans = _ZH_LEANS.search(text) is not None or (own < 2 * _STANDS_ALONE and _ZH_PRONOUN.search(text) is not None)
    else:
        leans = _LEANS.search(text) is not None or (own < _STANDS_ALONE and _PRONOUN.search(text) is not None)
    return leans or own <= 1


def read_asks(text: str) -> tuple[Ask, ...]:
    """The clauses of a message, in order; of one with very many the first and the last."""
    clauses = _clauses(text)
    if len(clauses) > 2 * _MOST:
        clauses = [*clauses[:_MOST], *clauses[-_MOST:]]
    return tuple(map(_read, clauses))


def _clauses(text: str) -> list[str]:
    pieces: list[str] = []
    for piece in _CLAUSE.split(text):
        piece = (piece or "").strip()
        start = 0
        for match in _AND_VERB.finditer(piece):
            if act_of(match.group(1).lower()) is not None and len(piece[start : match.start()].split()) > 1:
                pieces.append(piece[start : match.start()])
                start = match.end()
        pieces.append(piece[start:])
    return [piece for piece in pieces if any(char.isalnum() for char in piece)]


def _read(text: str) -> Ask:
    if has_cjk(text):
        return _read_chinese(text)
    bare = _LEAD.sub("", text).strip(" ,")
    polite = bool(re.search(r"\bplease\b", text, re.IGNORECASE))
    rest = bare
    while match := _POLITE.match(rest):
        rest, polite = _LEAD.sub("", rest[match.end() :]), True
    words = re.findall(r"[a-z][a-z'-]*", rest.lower())
    first = words[0] if words else ""
    if _NEGATED.match(rest):
        return Ask(text, Kind.STATEMENT)
    if polite and stem(first) in _KNOW:
        return Ask(text, Kind.HOW_TO if _HOW_TO.search(rest) else Kind.QUESTION)
    act = act_of(first) if first else None
    if act is not None and not polite and first in NOUN_VERBS and _NOUN_AFTER.match(rest[len(first) :].lstrip()):
        act = None
    if act is not None and act != "show" and (polite or not _ASKS.match(bare)) and _HOW_TO.search(rest[:40]) is None:
        return Ask(text, Kind.REQUEST, act, stem(first))
    if _HOW_TO.search(rest) and not (act == "show" and _HOW_TO.search(rest[:80]) is None):
        return Ask(text, Kind.HOW_TO)
    if act is not None and (polite or not _ASKS.match(bare)):
        return Ask(text, Kind.REQUEST, act, stem(first))
    if _WANT_THING.match(bare):
        return Ask(text, Kind.REQUEST, "create")
    if polite and first and not _ASKS.match(rest):
        return Ask(text, Kind.REQUEST, None, stem(first))
    if "?" in text or _ASKS.match(bare):
        return Ask(text, Kind.QUESTION)
    return Ask(text, Kind.STATEMENT, None, stem(first))


def _read_chinese(text: str) -> Ask:
    bare = text.replace("请问", "").strip(" ，,：:")
    if _NEGATED.search(bare[:6]):
        return Ask(text, Kind.STATEMENT)
    if _ZH_HOW_TO.search(bare):
        return Ask(text, Kind.HOW_TO)
    polite = _ZH_POLITE.search(bare)
    verb = chinese_act(bare[polite.end() :] if polite else bare)
    starts = polite is not None or (verb is not None and chinese_act(bare[:3]) is not None)
    if starts and (verb is not None or polite is not None):
        asking = _ZH_QUESTION.search(bare) is not None and polite is None
        if not asking:
            return Ask(text, Kind.REQUEST, verb[0] if verb else None)
    if _ZH_QUESTION.search(text):
        return Ask(text, Kind.QUESTION)
    return Ask(text, Kind.STATEMENT)
