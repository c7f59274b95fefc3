"""Fills a tool's arguments from words: the user's own first, then what tools returned. Nothing is invented."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.models.simulation.asks import Ask, Kind
from quarterdeck.models.simulation.candidates import dates, fits, ids, numbers, stated
from quarterdeck.models.simulation.enums import choose_value, matching_values, neutral_value
from quarterdeck.models.simulation.language import concepts
from quarterdeck.models.simulation.named import linked, mentioned, names_in_role
from quarterdeck.models.simulation.profiles import Parameter, Profile, Slot, parameters_of, resolve
from quarterdeck.models.simulation.subject import own_words, query_of, residue, subject_of
from quarterdeck.models.simulation.words import Found, Words, shape_of

__all__ = ["Filled", "Material", "fill"]

_DEEPEST = 4
_STORY = 8  # concepts of a message that tells more than it asks
_NAMED_SLOTS = frozenset({Slot.PLACE, Slot.PERSON, Slot.ORIGIN, Slot.GOAL})
_MESSAGE = frozenset({"text", "messag", "content", "body", "prompt"})  # what is said, rather than what is the matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Where values may come from.

    Attributes:
        ask: The clause that wants the tool; `asks` all clauses of the message.
        question: The whole message; `carried` the one it leans on, empty if it stands by itself.
        sources: Texts to look in, best first: the clause, the message, then earlier ones.
        results: Decoded results of tools, newest last.
    """

    ask: Ask
    asks: tuple[Ask, ...]
    question: str
    carried: str
    sources: tuple[Words, ...]
    results: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Filled:
    """Arguments, the required ones nobody gave, and how many values were found rather than assumed."""

    args: dict[str, Any]
    missing: tuple[Parameter, ...]
    found: int


def fill(profile: Profile, material: Material, *, forced: bool = False) -> list[Filled]:
    """The arguments of one call, or of several if the user named several things ("T-1 and T-2").

    Args:
        forced: The tool must be called: a required text is filled with the user's words if need be.
    """
    filler = _Filler(profile, material)
    filled = filler.fill(profile.parameters, forced=forced)
    several = filler.several(profile.parameters)
    if several is None:
        return [filled]
    name, values = several
    return [Filled({**filled.args, name: value}, filled.missing, filled.found) for value in values]


class _Filler:
    """One filling. Keeps which words are used up, so that two parameters never take the same one."""

    def __init__(self, profile: Profile, material: Material) -> None:
        self.profile = profile
        self.material = material
        self.known = profile.nouns | profile.about | {profile.verb} | {term for p in profile.parameters for term in p.terms}
        self.known |= {
            term for p in profile.parameters for value in p.schema.get("enum", ()) for term in concepts(str(value))
        }
        self.slots = frozenset(parameter.slot for parameter in profile.parameters)
        self.depth = 0
        self.taken: set[tuple[int, int]] = set()

    def fill(self, parameters: tuple[Parameter, ...], *, forced: bool) -> Filled:
        args: dict[str, Any] = {}
        found = 0
        for strict in (True, False):
            for parameter in parameters:
                if parameter.name in args or not (strict or parameter.required):
                    continue
                value = self._value(parameter, strict=strict)
                if value is not None:
                    args[parameter.name] = value
                    found += parameter.slot not in (Slot.QUERY, Slot.PROSE)
        missing = []
        for parameter in parameters:
            if parameter.required and parameter.name not in args:
                value = self._assumed(parameter, forced=forced)
                if value is None:
                    missing.append(parameter)
                else:
                    args[parameter.name] = value
        ordered = {parameter.name: args[parameter.name] for parameter in parameters if parameter.name in args}
        return Filled(ordered, tuple(missing), found)

    def _nested(self, schema: Mapping[str, Any]) -> Filled:
        """The fields of an object inside the arguments. A schema may contain itself, so there is an end to it."""
        if self.depth >= _DEEPEST:
            return Filled({}, (), 0)
        self.depth += 1
        try:
            return self.fill(parameters_of(schema), forced=False)
        finally:
            self.depth -= 1

    def several(self, parameters: tuple[Parameter, ...]) -> tuple[str, list[Any]] | None:
        """The one parameter for which the clause names several values, with the values."""
        for parameter in parameters:
            alike = sum(other.slot is parameter.slot for other in parameters)
            if not parameter.required or alike > 1 or parameter.slot not in (Slot.ID, *_NAMED_SLOTS):
                continue
            for words in self.material.sources[:2]:
                found = list(self._candidates(parameter, words, strict=True))
                if parameter.slot is Slot.ID:
                    found = [item for item in found if shape_of(str(item.value)) == shape_of(str(found[0].value))]
                else:
                    found = linked(found, words)
                values = list(dict.fromkeys(item.value for item in found)) or self._listed_in_chinese(parameter, words)
                if len(values) > 1 and parameter.slot is not Slot.PERSON:
                    return parameter.name, values
        return None

    def _listed_in_chinese(self, parameter: Parameter, words: Words) -> list[Any]:
        """Names listed without any mark of their part: "广州和北京的天气"."""
        if parameter.slot is not Slot.PLACE or not words.chinese or re.search("[和与跟、]", words.text) is None:
            return []
        return list(dict.fromkeys(residue(self.material.ask, self.known).split()))

    def _value(self, parameter: Parameter, *, strict: bool) -> Any:
        match parameter.slot:
            case Slot.ENUM:
                return self._enum(parameter) if strict else None
            case Slot.BOOLEAN:
                return self._boolean(parameter) if strict else None
            case Slot.ARRAY:
                return self._objects(parameter) or self._array(parameter, strict=strict)
            case Slot.OBJECT:
                nested = self._nested(parameter.schema)
                return nested.args if nested.args and not nested.missing and nested.found else None
            case Slot.QUERY | Slot.TITLE | Slot.PROSE:
                return self._text(parameter) if strict == (parameter.slot is not Slot.PROSE) or parameter.required else None
        for index, words in enumerate(self.material.sources):
            for item in self._candidates(parameter, words, strict=strict):
                if (index, item.start) in self.taken or not fits(item.value, parameter.schema):
                    continue
                self.taken.add((index, item.start))
                self._take_same(item, index)
                return item.value
        return None if strict else self._from_results(parameter) or self._rest(parameter)

    def _take_same(self, item: Found, index: int) -> None:
        """The clause is a part of the message: what is used in one is used in the other."""
        if index < 2 and len(self.material.sources) > 1:
            other = self.material.sources[1 - index]
            mine = self.material.sources[index].text[item.start : item.end]
            at = other.text.find(mine)
            if at >= 0:
                self.taken.add((1 - index, at))

    def _candidates(self, parameter: Parameter, words: Words, *, strict: bool) -> Iterator[Found]:
        match parameter.slot:
            case Slot.ID:
                yield from stated(parameter, words) if strict else ()
                yield from ids(parameter, words, strict=strict, nouns=self.profile.nouns)
            case Slot.NUMBER:
                yield from numbers(parameter, words, strict=strict)
            case Slot.EMAIL:
                yield from words.emails
            case Slot.URL:
                yield from words.urls
            case Slot.DATE | Slot.MOMENT:
                yield from dates(parameter, words, strict=strict)
            case Slot.TIME:
                yield from words.times
            case Slot.CURRENCY:
                yield from (Found(m.group(), m.start(), m.end()) for m in re.finditer(r"\b[A-Z]{3}\b", words.text))
            case slot if slot in _NAMED_SLOTS:
                yield from words.emails if slot in (Slot.PERSON, Slot.GOAL) and "email" in parameter.about else ()
                yield from names_in_role(slot, words, self.known, self.slots)
                if strict:
                    yield from mentioned(parameter, words, self.known)
                else:
                    yield from (*words.quotes, *words.names)
            case _:
                if strict:
                    yield from mentioned(parameter, words, self.known)
                else:
                    yield from (*words.quotes, *words.names)

    def _enum(self, parameter: Parameter) -> Any:
        verb = frozenset({self.material.ask.verb, self.profile.verb} - {""})
        for words in self.material.sources:
            value = choose_value(parameter.schema, words.text, verb)
            if value is not None:
                return value
        return None

    def _boolean(self, parameter: Parameter) -> bool | None:
        for words in self.material.sources[:2]:
            for term in parameter.terms:
                match = re.search(
                    rf"(\b(?:no|not|without|don't|do not|never)\s+(?:\w+\s+)?|不要?|无需)?{re.escape(term)}", words.lower
                )
                if match and len(term) > 2 and term not in self.profile.nouns:
                    return match.group(1) is None
        return None

    def _objects(self, parameter: Parameter) -> list[Any] | None:
        """A list of objects with the one object that was described."""
        items = parameter.schema.get("items")
        schema = resolve(items, parameter.schema) if isinstance(items, Mapping) else {}
        if schema.get("type") != "object":
            return None
        nested = self._nested(schema)
        return [nested.args] if nested.found and not nested.missing else None

    def _array(self, parameter: Parameter, *, strict: bool) -> list[Any] | None:
        values = list(dict.fromkeys(self._listed(parameter, strict=strict)))
        if len(values) < max(int(parameter.schema.get("minItems", 1)), 1):
            return None
        return values[: int(parameter.schema.get("maxItems", len(values)))]

    def _listed(self, parameter: Parameter, *, strict: bool) -> Sequence[Any]:
        items = parameter.schema.get("items")
        schema = resolve(items, parameter.schema) if isinstance(items, Mapping) else {"type": "string"}
        inner = parameters_of({"properties": {parameter.name: schema}, "$defs": parameter.schema.get("$defs", {})})[0]
        words = self.material.sources[0]
        if inner.slot in (Slot.OBJECT, Slot.ARRAY):
            return []
        if inner.slot is Slot.ENUM:
            return matching_values(schema, self.material.question)
        if inner.slot in (Slot.PERSON, Slot.GOAL) and words.emails:
            return [item.value for item in words.emails]
        return [item.value for item in self._candidates(inner, words, strict=strict) if fits(item.value, schema)]

    def _text(self, parameter: Parameter) -> str | None:
        material = self.material
        limit = int(parameter.schema.get("maxLength", 4000))
        text: str | None
        if parameter.slot is Slot.QUERY:
            quoted = material.sources[0].quotes
            several = sum(ask.kind is not Kind.STATEMENT for ask in material.asks) > 1
            whole = material.ask.text if several else material.question
            text = str(quoted[0].value) if len(quoted) == 1 else self._query(whole, several=several)
        else:
            quotes = [q for q in material.sources[0].quotes if (0, q.start) not in self.taken]
            subject = subject_of(material.question, material.asks, self.known) or (
                subject_of(material.carried, material.asks, self.known) if material.carried else None
            )
            if parameter.slot is Slot.TITLE:
                text = str(quotes[0].value) if quotes else self._undated(subject)
            else:
                text = own_words("\n".join(filter(None, (material.carried, material.question)))) if subject else None
                if len(quotes) == 1 and (parameter.terms & _MESSAGE or text is None):
                    text = str(quotes[0].value)
        return text[:limit].strip() or None if text else None

    def _query(self, text: str, *, several: bool) -> str:
        """The words that matter; of a message that tells more than it asks, all of it: which matter, the index knows."""
        if self.profile.wants_whole:
            return own_words("\n".join(filter(None, (self.material.carried, own_words(text)))))
        is_story = not several and not self.material.carried and len(concepts(text, translate=False)) >= _STORY
        return own_words(text) if is_story else query_of(text, self.material.carried)

    def _undated(self, subject: str | None) -> str | None:
        """A title without the day and hour, where the tool takes those by themselves."""
        if subject is None or not self.slots & {Slot.DATE, Slot.TIME, Slot.MOMENT}:
            return subject
        words = Words(subject)
        for item in sorted((*words.dates, *words.relative_dates, *words.times), key=lambda found: -found.start):
            before = re.sub(r"\s*\b(?:on|at|by|from|until|till|to|for)\s*\Z", "", subject[: item.start])
            subject = f"{before}{subject[item.end :]}"
        return subject.strip(" ,，") or None

    def _from_results(self, parameter: Parameter) -> Any:
        """A value under the parameter's name in what a tool returned, newest first."""
        for value in reversed(self.material.results):
            found = _lookup(value, parameter)
            if found is not None and fits(found, parameter.schema):
                return found
        return None

    def _rest(self, parameter: Parameter) -> str | None:
        """For a required text or name: what the clause says beyond the tool's own words."""
        if parameter.slot not in (Slot.TEXT, Slot.PLACE, Slot.GOAL, Slot.ORIGIN) or parameter.type != "string":
            return None
        rest = residue(self.material.ask, self.known)
        return rest if rest and fits(rest, parameter.schema) and parameter.pattern is None else None

    def _assumed(self, parameter: Parameter, *, forced: bool) -> Any:
        if "default" in parameter.schema:
            return parameter.schema["default"]
        if parameter.slot is Slot.ENUM:
            return neutral_value(parameter.schema)
        if parameter.slot is Slot.BOOLEAN:
            return False
        if forced and parameter.type == "string" and parameter.pattern is None:
            return own_words(self.material.question) or None
        return None


def _lookup(value: Any, parameter: Parameter, depth: int = 0) -> Any:
    if depth > 6:
        return None
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == parameter.name and not isinstance(inner, (dict, list)):
                return inner
        return next((found for inner in value.values() if (found := _lookup(inner, parameter, depth + 1)) is not None), None)
    if isinstance(value, list):
        return next((found for inner in value[:20] if (found := _lookup(inner, parameter, depth + 1)) is not None), None)
    return None
