"""Pairs what is asked with the tools on offer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.models.simulation.arguments import Filled, Material, fill
from quarterdeck.models.simulation.asks import Ask, Kind, is_follow_up, read_asks
from quarterdeck.models.simulation.candidates import names_id
from quarterdeck.models.simulation.dialogue import Dialogue
from quarterdeck.models.simulation.language import associated, concepts
from quarterdeck.models.simulation.profiles import Effect, Parameter, Profile
from quarterdeck.models.simulation.subject import query_of
from quarterdeck.models.simulation.verbs import WRITE_ACTS, akin, opposed
from quarterdeck.models.simulation.words import Words

__all__ = ["Plan", "Wish", "carried_text", "fewer_terms", "likeliest", "make_plan"]

_ENOUGH = 2.5  # one word of the tool's name, or two of its description, or an id of its shape
_CERTAIN = 4.0  # enough to ask for what is missing instead of looking elsewhere
_OWN = re.compile(r"\bmy\b|\bmine\b|\bthis\b|\bthat\b|我的|这个|那个|这张|那张", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """A call to make."""

    profile: Profile
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls a question wants, in order, and what must be asked first for one that cannot be made."""

    wishes: tuple[Wish, ...] = ()
    lacking: tuple[Profile, tuple[Parameter, ...]] | None = None


def carried_text(dialogue: Dialogue) -> str:
    """The earlier question this one leans on, empty if it stands by itself."""
    earlier = dialogue.earlier
    if not earlier or not (is_follow_up(dialogue.question) or _completes(dialogue)):
        return ""
    if len(earlier) > 1 and is_follow_up(earlier[-1]):
        return f"{earlier[-2]} {earlier[-1]}"
    return earlier[-1]


def make_plan(
    dialogue: Dialogue, profiles: Sequence[Profile], results: tuple[Any, ...] = (), forced: Profile | None = None
) -> Plan:
    """The calls the question wants.

    Args:
        results: Decoded results so far, oldest first; arguments nobody said may be found in them.
        forced: This tool must be called, whatever the words.
    """
    chooser = _Chooser(dialogue, profiles, results)
    return chooser.forced(forced) if forced is not None else chooser.plan()


def likeliest(dialogue: Dialogue, profiles: Sequence[Profile]) -> Profile | None:
    """The tool that comes nearest to the question, however far."""
    return _Chooser(dialogue, profiles, ()).best()


def fewer_terms(query: str, dialogue: Dialogue) -> str:
    """A wider search: with what the message told before it asked, else without the words carried over from an earlier
    question, else with the three longest words.

    Length stands in for rarity, which only the index knows. Empty if the query cannot be widened.
    """
    words = query.split()
    asks = read_asks(dialogue.question)
    if len(asks) > 1 and sum(ask.kind is not Kind.STATEMENT for ask in asks) == 1:
        whole = query_of(dialogue.question)
        if len(whole.split()) > len(words):
            return whole
    own = [word for word in words if word in dialogue.question]
    if own and len(own) < len(words):
        return " ".join(own)
    if len(words) <= 3:
        return ""
    longest = sorted(words, key=len, reverse=True)[:3]
    return " ".join(word for word in words if word in longest)


def _is_called_for(verb: str, profile: Profile) -> bool:
    """True if the verb is the tool's own, or its name is made from it ("remind me" and ``set_reminder``)."""
    return bool(verb) and (verb == profile.verb or (len(verb) > 3 and any(noun.startswith(verb) for noun in profile.nouns)))


def _completes(dialogue: Dialogue) -> bool:
    """True if the message merely answers a question we asked."""
    asked = bool(dialogue.replies) and dialogue.replies[-1].rstrip().endswith(("?", "？"))
    return asked and all(ask.kind is Kind.STATEMENT for ask in read_asks(dialogue.question))


def _add(wishes: list[Wish], wish: Wish, ask: Ask, *, several: bool) -> None:
    """Add a call. A clause that only adds to an earlier wish ("..., in Celsius please") completes it and makes no second."""
    if wish in wishes:
        return
    for index, other in enumerate(wishes):
        if several or other.profile is not wish.profile or wish.profile.query is not None:
            continue
        changed = [parameter.name for parameter in wish.profile.parameters if parameter.required]
        changed = [name for name in changed if wish.args.get(name) != other.args.get(name)]
        if not any(str(wish.args.get(name)).lower() in ask.text.lower() for name in changed):
            wishes[index] = Wish(other.profile, {**wish.args, **other.args})
            return
    wishes.append(wish)


class _Chooser:
    def __init__(self, dialogue: Dialogue, profiles: Sequence[Profile], results: tuple[Any, ...]) -> None:
        self.dialogue = dialogue
        self.profiles = profiles
        self.results = results
        self.carried = carried_text(dialogue)
        completes = _completes(dialogue) and bool(self.carried)
        self.text = f"{self.carried}\n{dialogue.question}" if completes else dialogue.question
        if completes:
            self.carried = ""
        self.asks = read_asks(self.text) or (Ask(self.text, Kind.STATEMENT),)
        self.whole = Words(self.text)  # read once, however many clauses ask for a value of it
        self.leans = is_follow_up(dialogue.question)
        seen = Counter(term for profile in profiles for term in profile.nouns | profile.about)
        self.seen = seen

    def plan(self) -> Plan:
        wanting = [ask for ask in self.asks if ask.kind is not Kind.STATEMENT] or list(self.asks[:1])
        if len(wanting) == 1:
            wanting = [Ask(self.text, wanting[0].kind, wanting[0].act, wanting[0].verb)] if len(self.asks) == 1 else wanting
        wishes: list[Wish] = []
        lacking: tuple[Profile, tuple[Parameter, ...]] | None = None
        for index, ask in enumerate(wanting):
            carried = self.carried
            if is_follow_up(ask.text) and (before := wanting[index - 1].text if index else self._told_before(ask)):
                carried = " ".join(filter(None, (carried, before)))
            found = self._choose(ask, carried)
            for profile, filled in found:
                if filled.missing:
                    lacking = lacking or (profile, filled.missing)
                else:
                    _add(wishes, Wish(profile, filled.args), ask, several=len(found) > 1)
        return Plan(tuple(wishes), lacking)

    def _told_before(self, ask: Ask) -> str:
        """What the message says before a question that leans on it: "the printer is dark, what now?"."""
        before = (one.text for one in self.asks[: self.asks.index(ask)]) if ask in self.asks else ()
        return " ".join(before)

    def forced(self, profile: Profile) -> Plan:
        ask = next((ask for ask in self.asks if ask.kind is not Kind.STATEMENT), self.asks[0])
        return Plan(tuple(Wish(profile, one.args) for one in fill(profile, self._material(ask, self.carried), forced=True)))

    def best(self) -> Profile | None:
        """The likeliest tool, however unlikely; between equals one that searches."""

        def nearness(profile: Profile) -> tuple[float, bool]:
            return max(self._score(profile, ask, self.carried) for ask in self.asks), profile.query is not None

        return max(self.profiles, key=nearness, default=None)

    def _choose(self, ask: Ask, carried: str) -> list[tuple[Profile, Filled]]:
        scored = sorted(
            ((self._score(profile, ask, carried), -index, profile) for index, profile in enumerate(self.profiles)),
            reverse=True,
        )
        material = self._material(ask, carried)
        fallback = self._search(ask, scored)
        for score, _, profile in scored[:3]:
            if score < 0.7 or not self._permitted(profile, ask):
                continue
            filled = fill(profile, material)
            complete = not filled[0].missing
            if complete and score + 0.75 * min(filled[0].found, 2) >= _ENOUGH:
                return [(profile, one) for one in filled]
            if not complete and score >= _ENOUGH and self._worth_asking(profile, ask, score, fallback):
                return [(profile, filled[0])]
        if fallback is not None:
            return [(fallback, one) for one in fill(fallback, material) if not one.missing]
        return []

    def _score(self, profile: Profile, ask: Ask, carried: str) -> float:
        own = {*concepts(ask.text), *associated(ask.text)}
        score = sum(self._weight(profile, term) for term in own)
        if carried:
            score += 0.5 * sum(self._weight(profile, term) for term in set(concepts(carried)) - own)
        if names_id(profile, Words(ask.text)):
            score += 4.0
        if ask.kind is Kind.REQUEST:
            # The right kind of act on quite another thing is no sign: "buy a pizza" is not about opening a ticket.
            if score > 0 and ask.act is not None and profile.act is not None:
                score += 3.0 if ask.act == profile.act else 1.5 if akin(ask.act, profile.act) else 0.0
            if ask.act in WRITE_ACTS and profile.effect is Effect.READ and profile.query is None:
                score -= 4.0
        if _is_called_for(ask.verb, profile):
            score += 2.0
        if ask.kind is Kind.HOW_TO and profile.query is None and any(other.query for other in self.profiles):
            score -= 3.0
        return score

    def _weight(self, profile: Profile, term: str) -> float:
        weight = 3.0 if term in profile.nouns else 1.5 if term in profile.about else 0.75 if term in profile.hints else 0.0
        shared = self.seen[term]
        return weight if shared <= 1 else weight * (0.75 if shared < len(self.profiles) else 0.5)

    def _permitted(self, profile: Profile, ask: Ask) -> bool:
        """A write needs a request for its kind of act; being talked about is not enough."""
        if profile.effect is Effect.READ:
            return True
        imperative = ask.kind in (Kind.REQUEST, Kind.STATEMENT) and _is_called_for(ask.verb, profile)
        if profile.effect is Effect.UNKNOWN:
            return imperative or not profile.verb or ask.kind is Kind.REQUEST
        if imperative:
            return True
        if ask.kind is not Kind.REQUEST:
            return False
        if ask.act is None:
            return bool(set(concepts(ask.text)) & profile.nouns)
        if profile.act is None or ask.act == profile.act or akin(ask.act, profile.act):
            return True
        return not profile.is_named_for_act and not opposed(ask.act, profile.act)

    def _worth_asking(self, profile: Profile, ask: Ask, score: float, fallback: Profile | None) -> bool:
        """Ask for what is missing only if the tool is surely meant, and not a question any document may answer."""
        if ask.kind is Kind.REQUEST or fallback is None:
            return score >= _CERTAIN or fallback is None
        if ask.kind is Kind.HOW_TO:
            return False
        named = profile.nouns <= set(concepts(ask.text)) and bool(profile.nouns)
        return named and _OWN.search(ask.text) is not None

    def _search(self, ask: Ask, scored: Sequence[tuple[float, int, Profile]]) -> Profile | None:
        """The tool for questions of knowledge: a general search, else the only search there is."""
        searches = [profile for _, _, profile in scored if profile.query is not None]
        general = [profile for profile in searches if profile.is_general_search]
        if general:
            return general[0]
        return searches[0] if len(searches) == 1 else None

    def _material(self, ask: Ask, carried: str) -> Material:
        sources = [Words(ask.text), self.whole] if ask.text != self.text else [self.whole]
        texts = [carried] if carried else []
        if self.leans:
            texts.extend(reversed(self.dialogue.replies[-2:]))
            texts.extend(reversed(self.dialogue.earlier[-4:-1]))
        return Material(
            ask=ask,
            asks=self.asks,
            question=self.text,
            carried=carried,
            sources=(*sources, *map(Words, texts)),
            results=self.results,
        )
