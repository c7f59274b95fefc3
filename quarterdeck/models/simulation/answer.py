"""Composes the reply: sentences of passages with their markers, results of tools in words, or that there is nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from quarterdeck.models.simulation import phrases
from quarterdeck.models.simulation.asks import Kind, is_follow_up, read_asks, small_talk
from quarterdeck.models.simulation.choose import carried_text
from quarterdeck.models.simulation.describe import describe_call, describe_value, noun_label, tool_label
from quarterdeck.models.simulation.dialogue import Dialogue, Step
from quarterdeck.models.simulation.extract import MATCHED, MEANT, Picked, pick
from quarterdeck.models.simulation.language import concepts
from quarterdeck.models.simulation.profiles import Effect, Profile
from quarterdeck.models.simulation.rephrase import rephrased
from quarterdeck.models.simulation.results import Outcome, Source, Status, sources_in
from quarterdeck.models.simulation.subject import own_words, query_of

__all__ = ["Said", "compose", "render"]

_LONG = 500  # characters of a text result that are said whole
_ONE, _FEW, _MOST = 1, 2, 3  # sentences of passages in a reply
_ONE_SENTENCE = re.compile(r"\bone sentence\b|一句话", re.IGNORECASE)
_BRIEF = re.compile(r"\b(?:be|very|keep\w*) (?:brief|short|concise|terse)\b|简短|简洁", re.IGNORECASE)
_MATERIAL_MARK = re.compile(r"^\s*(?:context|text|document|passage|资料|上下文|背景)\s*[:：]\s*", re.IGNORECASE)
_QUESTION_MARK = re.compile(r"(?:^|\n)\s*(?:question|query|q|问题|提问)\s*[:：]\s*(?P<asked>.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence of the reply; `source` is the passage it is copied from, empty for our own words and for data.

    `is_empty` marks the sentence that says there is nothing to say.
    """

    text: str
    source: str = ""
    is_empty: bool = False


def render(said: Iterable[Said]) -> str:
    """The reply as text, each copied sentence followed by its marker."""
    return " ".join(f"{one.text} [{one.source}]" if one.source else one.text for one in said)


def compose(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Said]:
    """The reply to the question, from the results so far; without what an earlier rejection named."""
    said = _reply(dialogue, profiles)
    return _mended(said, dialogue) if dialogue.rejections else said


def _reply(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Said]:
    chinese = dialogue.chinese
    outcomes = _read(dialogue.steps)
    said = [
        one
        for step, outcome in outcomes
        if outcome.status is not Status.PASSAGES
        for one in _from_result(step, outcome, profiles.get(step.call.name), dialogue)
    ]
    searched = any(outcome.status is Status.PASSAGES or _is_search(step, profiles) for step, outcome in outcomes)
    if searched or dialogue.given:
        trust = MEANT if any(profile.wants_whole for profile in profiles.values()) else MATCHED
        cited = _from_passages(dialogue, outcomes, trust)
        nothing = [] if cited or (said and not searched) else [Said(phrases.nothing_found(chinese), is_empty=True)]
        return [*said, *cited, *nothing]
    if said:
        return said
    if outcomes:
        return [Said(phrases.nothing_found(chinese), is_empty=True)]
    return _without_tools(dialogue, profiles)


def _read(steps: Sequence[Step]) -> list[tuple[Step, Outcome]]:
    return [(step, step.outcome) for step in steps if step.outcome is not None]


def _is_search(step: Step, profiles: Mapping[str, Profile]) -> bool:
    profile = profiles.get(step.call.name)
    return profile is not None and profile.query is not None


def _from_passages(dialogue: Dialogue, outcomes: Sequence[tuple[Step, Outcome]], trust: float) -> list[Said]:
    """Sentences that answer, for each question of the message; and of which of them nothing is known.

    Args:
        trust: What all evidence of the search is worth, beside all terms of the question.
    """
    limit = _ONE if _ONE_SENTENCE.search(dialogue.system) else _FEW if _BRIEF.search(dialogue.system) else _MOST
    carried = carried_text(dialogue)
    asked = [ask.text for ask in read_asks(dialogue.question) if ask.kind in (Kind.QUESTION, Kind.HOW_TO)]
    left: list[str] = []
    if len(asked) < 2:
        found = _unique([*dialogue.given, *_found(dialogue.question, outcomes)])
        picked = _picked(dialogue.question, carried, found, limit, trust)
    else:
        picked = []
        for index, text in enumerate(asked):
            lean = asked[index - 1] if index and is_follow_up(text) else carried
            found = _unique([*dialogue.given, *_found(text, outcomes)])
            found_here = _picked(text, lean, found, max(_ONE, limit - 1), trust)
            picked += found_here
            if not found_here and _looked_for(text, outcomes):
                left.append(text)
    said = list(dict.fromkeys(Said(one.text, one.source) for one in picked))
    return [*said, *(Said(phrases.nothing_about(dialogue.chinese, text)) for text in left)] if said else []


def _found(question: str, outcomes: Sequence[tuple[Step, Outcome]]) -> Iterator[Source]:
    """What searches gave. What speaks for a passage speaks for as much of the question as was looked for, and no more."""
    wanted = set(concepts(question, translate=False))
    for step, outcome in outcomes:
        looked_for = set(concepts(" ".join(str(value) for value in step.call.args.values()), translate=False))
        share = len(wanted & looked_for) / len(wanted) if wanted else 0.0
        for source in outcome.sources:
            yield replace(source, score=source.score * share)


def _looked_for(question: str, outcomes: Sequence[tuple[Step, Outcome]]) -> bool:
    """True unless the question was put to another tool than a search, whose result answers it."""
    asked = [str(value) for step, _ in outcomes for value in step.call.args.values()]
    return all(outcome.status in (Status.PASSAGES, Status.EMPTY) for _, outcome in outcomes) or any(
        query_of(question) in one or own_words(question) in one for one in asked
    )


def _picked(question: str, carried: str, sources: Sequence[Source], limit: int, trust: float) -> list[Picked]:
    """The sentences that answer a question, or else the same question in other words."""
    other = rephrased(question)
    picked = pick(question, carried, sources, limit, trust)
    return picked or (pick(other, carried, sources, limit, trust) if other != question else [])


def _unique(sources: Iterable[Source]) -> list[Source]:
    """Each once, with the best that speaks for it."""
    return list({source.id: source for source in sorted(sources, key=lambda source: source.score)}.values())[::-1]


def _from_result(step: Step, outcome: Outcome, profile: Profile | None, dialogue: Dialogue) -> list[Said]:
    chinese = dialogue.chinese
    label = tool_label(step.call.name, profile, chinese=chinese)
    call = describe_call(label, step.call.args, chinese=chinese)
    match outcome.status:
        case Status.PENDING:
            return [Said(phrases.pending(chinese, call))]
        case Status.REFUSED:
            return [Said(phrases.refused(chinese, call, _line(outcome.reason)))]
        case Status.IN_DOUBT:
            return [Said(phrases.in_doubt(chinese, call))]
        case Status.ERROR:
            return [Said(phrases.failed(chinese, label, _line(outcome.reason)))]
        case Status.EMPTY if profile is not None and profile.effect is Effect.WRITE:
            return [Said(phrases.done(chinese, call, "") + ("。" if chinese else "."))]
        case Status.EMPTY:
            return []
    if isinstance(outcome.value, str) and len(outcome.value) > _LONG:
        return _from_text(outcome.value, dialogue)
    noun = noun_label(step.call.name, profile, chinese=chinese)
    details = describe_value(outcome.value, step.call.args, noun, frozenset(concepts(dialogue.question)), chinese=chinese)
    if profile is not None and profile.effect is Effect.WRITE:
        return [Said(phrases.done(chinese, label, details))]
    return [Said(details)] if details else []


def _line(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= 300 else line[:300].rsplit(" ", 1)[0] + " …"


def _from_text(text: str, dialogue: Dialogue) -> list[Said]:
    """The sentences of a long text that answer; of a text that answers nothing, nothing."""
    picked = pick(dialogue.question, carried_text(dialogue), [Source("", "", text)])
    return [Said(one.text) for one in picked]


def _without_tools(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Said]:
    """An answer from the conversation itself: the message's own text, results of earlier turns, what people said."""
    chinese = dialogue.chinese
    abilities = [
        sentence
        for profile in profiles.values()
        if (sentence := re.split(r"(?<=[.。])\s|\n", profile.spec.description)[0].strip(" .。"))
    ]
    match small_talk(dialogue.question):
        case "thanks":
            return [Said(phrases.welcome(chinese))]
        case "greeting" | "help":
            return [Said(phrases.greeting(chinese, abilities))]
    if told := _from_message(dialogue.question):
        return told
    past = [outcome for _, outcome in _read(dialogue.past)]
    sources = _unique(source for outcome in past for source in outcome.sources)
    carried = carried_text(dialogue)
    if cited := [Said(one.text, one.source) for one in pick(dialogue.question, carried, sources)]:
        return cited
    if carried:
        for step, outcome in reversed(_read(dialogue.past)):
            if outcome.status is Status.VALUE and set(concepts(f"{dialogue.question} {carried}")) & set(
                concepts(str(outcome.value))
            ):
                return _from_result(step, outcome, profiles.get(step.call.name), dialogue)
    spoken = "\n".join((*dialogue.earlier, *dialogue.replies, dialogue.system))
    if told := [Said(one.text) for one in pick(dialogue.question, "", [Source("", "", spoken)], 1)]:
        return told
    return [Said(phrases.no_sources(chinese, abilities), is_empty=True)]


def _from_message(text: str) -> list[Said]:
    """For a message that brings its own material ("Context: ... Question: ..."): the sentences of it that answer."""
    marked = _QUESTION_MARK.search(text)
    if marked is not None:
        asked = marked.group("asked")
        material = _MATERIAL_MARK.sub("", text[: marked.start()]) + "\n" + text[marked.end() :]
    else:
        asks = read_asks(text)
        asking = [ask for ask in asks if ask.kind is not Kind.STATEMENT]
        if not asking or len(asks) - len(asking) < 3:
            return []
        asked = asking[-1].text
        material = text.replace(asked, "\n")
    sources = sources_in(material)
    if sources:
        return [Said(one.text, one.source) for one in pick(asked, "", sources)]
    return [Said(one.text) for one in pick(asked, "", [Source("", "", material)], 2)]


def _mended(said: list[Said], dialogue: Dialogue) -> list[Said]:
    """The reply without what was rejected; if nothing of it was named, only its best sentence, and in the end none."""
    reasons = "\n".join(dialogue.rejections)
    kept = [one for one in said if not (one.text in reasons or (one.source and one.source in reasons))]
    if len(kept) == len(said):
        cited = [one for one in said if one.source]
        kept = cited[:1] if cited and len(said) > 1 and len(dialogue.rejections) < 2 else [] if cited else kept
    return kept or [Said(phrases.nothing_found(dialogue.chinese), is_empty=True)]
