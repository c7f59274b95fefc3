"""Names in a text by the part they play: where, who, from where, to where, and "department finance"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from quarterdeck.models.simulation.language import concepts, stem
from quarterdeck.models.simulation.profiles import Parameter, Slot
from quarterdeck.models.simulation.words import Found, Words

__all__ = ["linked", "mentioned", "names_in_role"]

_PREPOSITIONS = MappingProxyType(
    {
        Slot.PLACE: frozenset("in at near around for of to within".split()),
        Slot.PERSON: frozenset(
            "for to with of by from user employee customer named is am ask invite remind email notify assign and".split()
        ),
        Slot.ORIGIN: frozenset("from leaving departing".split()),
        Slot.GOAL: frozenset("to into towards for".split()),
    }
)
_CLAIMED = MappingProxyType(
    {
        Slot.ORIGIN: frozenset({"from"}),
        Slot.GOAL: frozenset({"to"}),
        Slot.PERSON: frozenset({"for", "with"}),
        Slot.PLACE: frozenset({"in", "at"}),
    }
)
_LOWER = MappingProxyType(
    {
        slot: re.compile(
            rf"\b(?:{words})\s+([a-z][a-z'-]+(?:\s[a-z][a-z'-]+){{0,2}}?)"
            r"(?=\s*(?:[?.!,;]|$)|\s+(?:on|at|for|in|today|tonight|tomorrow|next|this|with|and|please|to|from|by|"
            r"right|now)\b)"
        )
        for slot, words in ((Slot.PLACE, "in|at|near"), (Slot.ORIGIN, "from"), (Slot.GOAL, "to"))
    }
)
_CHINESE = MappingProxyType(
    {
        Slot.ORIGIN: re.compile(r"从([\u4e00-\u9fffA-Za-z]{2,10}?)(?=到|去|飞|至|寄|出发|开往|转|往)"),
        Slot.GOAL: re.compile(
            r"(?:飞往|飞到|寄到|寄往|前往|到|去|至|往|给)([\u4e00-\u9fff]{2,8}?|[A-Za-z][A-Za-z ]+)"
            r"(?=的|要|需|多少|明天|后天|今天|下周|有|怎|发|转|寄|打|预|吗|，|。|？|\?|!|！|\s|$|\d)"
        ),
        Slot.PERSON: re.compile(
            r"(?:给|向|跟|和|与|通知|提醒|邀请|联系|员工|同事|客户)([\u4e00-\u9fff]{2,3}?|[A-Z][a-z]+)(?=发|转|寄|打|"
            r"约|开|预|说|的|，|。|明|后|下|今|参|$)"
        ),
        Slot.PLACE: re.compile(r"在([\u4e00-\u9fff]{2,6}?)(?=的|有|明|今|后|找|预|订|吃|住|，|。|？|$)"),
    }
)
_LINK = re.compile(
    r"\s*(?:,\s*)?(?:,|，|、|and|or|&|和|与|以及)(?:\s+also)?(?:\s+(?:for|in|at|of|from|to))?\s*\Z", re.IGNORECASE
)
_LINKER = r"\s*(?:is|are|as|=|:|：|of|to|named|called|should be|是|为)?\s*[\"'“]?"


def names_in_role(slot: Slot, words: Words, known: frozenset[str], slots: frozenset[Slot]) -> Iterator[Found]:
    """Names that stand where this kind of value stands, with those listed behind them ("in Paris and Rome").

    Args:
        known: Concepts of the tool, which name nothing of the user's.
        slots: Every slot of the tool: what stands for another of them is left to it ("to Berlin for Anna").
    """
    if slot not in _PREPOSITIONS:
        return
    if words.chinese:
        yield from (Found(m.group(1).strip(), m.start(1), m.end(1)) for m in _CHINESE[slot].finditer(words.text))
        return
    prepositions = _PREPOSITIONS[slot].difference(*(_CLAIMED[other] for other in slots & _CLAIMED.keys() - {slot}))
    last_end = -1
    found = False
    for name in words.names:
        before = re.search(r"([a-z]+)\s+(?:the\s+|mr\.?\s+|ms\.?\s+|dr\.?\s+)?\Z", words.lower[: name.start])
        listed = last_end >= 0 and _LINK.match(words.text[last_end : name.start]) is not None
        if listed or (before is not None and before.group(1) in prepositions):
            if set(concepts(str(name.value))) <= known:
                continue
            last_end, found = name.end, True
            yield name
    if not found and slot in _LOWER:
        for match in _LOWER[slot].finditer(words.lower):
            value = match.group(1)
            if (
                not re.match(r"(?:the|my|a|an|our|your|this|that|me|you|be|do|get|have|know|see)\b", value)
                and not set(concepts(value)) <= known
            ):
                yield Found(words.text[match.start(1) : match.end(1)], match.start(1), match.end(1))


def mentioned(parameter: Parameter, words: Words, known: frozenset[str]) -> Iterator[Found]:
    """Values the text gives by the parameter's own name: "department: finance", "the finance department"."""
    for term in sorted(parameter.terms, key=len, reverse=True):
        if len(term) < 3 or term not in words.lower:
            continue
        for match in re.finditer(rf"{re.escape(term)}\w*{_LINKER}(?P<value>[\w][\w'’/-]*)", words.text, re.IGNORECASE):
            value = match.group("value")
            linked = re.search(
                r"(?:is|as|=|:|：|named|called|be|是|为)\s*[\"'“]?\Z",
                words.text[match.start() : match.start("value")],
                re.IGNORECASE,
            )
            if concepts(value) and (linked or value[0].isupper()) and stem(value.lower()) not in known:
                yield Found(
                    _whole(words, match.start("value"), match.end("value")), match.start("value"), match.end("value")
                )
        for match in re.finditer(rf"(?P<value>[\w'’-]+)\s+{re.escape(term)}\w*", words.text, re.IGNORECASE):
            value = match.group("value")
            if concepts(value) and stem(value.lower()) not in known | parameter.terms and not value.isdigit():
                yield Found(value, match.start("value"), match.end("value"))


def linked(found: list[Found], words: Words) -> list[Found]:
    """The first value and those listed with it ("Paris, Rome and Oslo"); others stand there for another reason."""
    listed = found[:1]
    for item in found[1:]:
        if _LINK.match(words.text[listed[-1].end : item.start]) is None:
            break
        listed.append(item)
    return listed


def _whole(words: Words, start: int, end: int) -> str:
    """The whole name or quotation a word belongs to."""
    for span in (*words.quotes, *words.names):
        if span.start <= start < span.end:
            return str(span.value)
    return words.text[start:end]
