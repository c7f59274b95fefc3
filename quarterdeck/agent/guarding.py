"""What guards say of the texts of a run, and what is done about it: what they find stands in the journal before the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quarterdeck.agent.answer import unfenced
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.context import Context
from quarterdeck.core.decisions import Decision, Verdict
from quarterdeck.core.events import Delta, Event, GuardrailFired, ModelReply, Retrieved
from quarterdeck.core.labels import Integrity
from quarterdeck.core.messages import Role, Text, ToolResult
from quarterdeck.core.runs import AgentSpec
from quarterdeck.models.base import Emit
from quarterdeck.policy.grounding import Ground
from quarterdeck.policy.guards.base import About, Layer, Ruling
from quarterdeck.policy.guards.chain import Chain, Checked, Hit
from quarterdeck.policy.guards.layers import Guards
from quarterdeck.policy.guards.window import Window

__all__ = ["Guarding", "Screen", "Screened", "fired"]

_WITHHELD = "The answer was held back."


class Screen:
    """Passes on the pieces of a reply as far as they can no longer become something that must not be said.

    Args:
        window: Makes one for a text that begins; None where nothing is looked for.
    """

    def __init__(self, emit: Emit, window: Callable[[], Window] | None) -> None:
        self._emit = emit
        self._new = window
        self._window: Window | None = None
        self._last: Delta | None = None

    async def __call__(self, delta: Delta) -> None:
        if self._new is None:
            await self._emit(delta)
            return
        if self._last is not None and delta.kind != self._last.kind:
            await self.finish()
        if delta.kind not in ("text", "reasoning"):
            await self._emit(delta)
            return
        self._window = self._window or self._new()
        self._last = delta
        if text := await self._window.feed(delta.text):
            await self._emit(replace(delta, text=text))

    async def finish(self) -> None:
        """Pass on what was held back, as the text is over."""
        window, last = self._window, self._last
        self._window = self._last = None
        if window is not None and last is not None and (text := await window.finish()):
            await self._emit(replace(last, text=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What guards say of the arguments of a call; it only makes policy's decision stricter."""

    ruling: Ruling
    rules: tuple[str, ...]

    def tightened(self, decision: Decision) -> Decision:
        why = tuple(f"the guard {rule} found something in the arguments" for rule in self.rules)
        rule, reasons = f"guard:{self.rules[0]}", (*decision.reasons, *why)
        if self.ruling is Ruling.BLOCK and decision.verdict is not Verdict.DENY:
            return replace(decision, verdict=Verdict.DENY, rule=rule, reasons=reasons)
        if self.ruling is Ruling.ASK and decision.verdict is Verdict.ALLOW:
            return replace(decision, verdict=Verdict.APPROVE, rule=rule, reasons=reasons)
        return decision


class Guarding:
    """The guards of one run.

    Args:
        state: The run as it stands: what its answer may rest on.
    """

    def __init__(self, guards: Guards, spec: AgentSpec, context: Context, state: Callable[[], RunState]) -> None:
        self._guards = guards
        self._spec = spec
        self._state = state
        self._about = About(trusted=self._trusted, context=context)
        self._ground: tuple[RunState, Ground] | None = None
        self._clean: str | None = None  # the last reply if nothing was found in it: most often it becomes the answer

    def screen(self, emit: Emit) -> Screen:
        """Between the pieces of a reply and whoever watches."""
        guards = self._guards
        if not guards.output.links:
            return Screen(emit, None)
        return Screen(emit, lambda: Window(guards.output, self._about, reach=guards.reach, closed=guards.whole))

    async def reply(self, reply: ModelReply) -> tuple[Event, ...]:
        """A reply as it is kept and shown, behind what was found in it."""
        text = reply.message.text
        checked = await self._typed(text) if self._spec.output_schema is not None else await self._said(text)
        # One who is asked may have had no time; a value was looked at text by text, and not as what it is written as.
        sure = not (checked.hits or self._guards.whole or self._spec.output_schema is not None)
        self._clean = text if sure else None
        if not checked.hits:
            return (reply,)
        kept = checked.text
        if checked.ruling is Ruling.BLOCK:
            kept = "" if reply.message.tool_calls else _WITHHELD
        if kept != text:
            parts = [part for part in reply.message.parts if not isinstance(part, Text)]
            label = next(part.label for part in reply.message.parts if isinstance(part, Text))
            reply = replace(reply, message=replace(reply.message, parts=(Text(text=kept, label=label), *parts)))
        return (*fired("output", checked), reply)

    async def answer(self, answer: Answer) -> tuple[Answer, tuple[GuardrailFired, ...]]:
        """A settled answer as it is given: also of what tools returned nothing is said that a reply may not say."""
        checked = Checked(text=answer.text) if answer.text == self._clean else await self._said(answer.text)
        if checked.ruling is Ruling.BLOCK:
            answer = replace(answer, text=_WITHHELD, citations=(), sources=())
        elif checked.text != answer.text:
            answer = replace(answer, text=checked.text)
        asking = (rule for rule, ruling in checked.rules if ruling in (Ruling.ASK, Ruling.BLOCK))
        if rules := tuple(dict.fromkeys((*self._state().review, *asking))):
            notes = (*answer.notes, *(f"The guard {rule} asks for a person to look." for rule in rules))
            answer = replace(answer, needs_human_review=True, notes=notes)
        return answer, fired("output", checked)

    async def progress(self, text: str) -> str:
        """What a tool tells of its progress, as whoever watches may have it."""
        checked = await self._said(text)
        return _WITHHELD if checked.ruling is Ruling.BLOCK else checked.text

    async def retrieved(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """What a search gave, without passages that are left out."""
        given: list[Event] = []
        for event in events:
            if isinstance(event, Retrieved):
                passages, found = await self._passages(event.passages)
                given += found
                event = event if passages is event.passages else replace(event, passages=passages)
            given.append(event)
        return tuple(given)

    async def returned(self, result: ToolResult) -> tuple[tuple[GuardrailFired, ...], ToolResult]:
        """What a tool returned as the model reads it, and what was found in it."""
        found: tuple[GuardrailFired, ...] = ()
        if result.passages:
            passages, found = await self._passages(result.passages)
            if passages is not result.passages:
                result = replace(result, passages=passages)
        if not result.output or not self._guards.tool.links:
            return found, result
        checked = await self._guards.tool.check(result.output, self._about)
        if not checked.hits:
            return found, result
        if checked.ruling is Ruling.BLOCK:
            result = replace(result, output="The result was left out: a guard found something in it.")
        elif checked.text != result.output:
            result = replace(result, output=checked.text)
        return (*found, *fired("tool", checked)), result

    async def arguments(self, calls: Sequence[CallState]) -> tuple[Mapping[str, Screened], tuple[GuardrailFired, ...]]:
        """By id, what guards say of what tools are to be called with."""
        screened: dict[str, Screened] = {}
        events: list[GuardrailFired] = []
        for call in calls if self._guards.arguments else ():
            hits: list[Hit] = []
            for rule in self._guards.arguments:
                hits += await rule.find(call.call.name, call.call.args, self._about)
            if hits:
                checked = Checked(text="", hits=tuple(hits))
                severe = tuple(rule for rule, ruling in checked.rules if ruling is checked.ruling)
                screened[call.call.id] = Screened(ruling=checked.ruling, rules=severe)
                done = {Ruling.ASK: "approval", Ruling.BLOCK: "denied"}
                events += fired("tool", checked, done)
        return screened, tuple(events)

    async def _said(self, text: str) -> Checked:
        return await self._guards.output.check(text, self._about)

    async def _typed(self, text: str) -> Checked:
        """A value, looked at text by text, so that it stays a value."""
        try:
            value = json.loads(unfenced(text))
        except (ValueError, RecursionError):
            return await self._said(text)
        hits: list[Hit] = []
        kept = await self._value(value, hits)
        return Checked(text=text if kept == value else json.dumps(kept, ensure_ascii=False), hits=tuple(hits))

    async def _value(self, value: Any, hits: list[Hit]) -> Any:
        match value:
            case dict():
                return {(await self._value(key, hits)): await self._value(item, hits) for key, item in value.items()}
            case list():
                return [await self._value(item, hits) for item in value]
            case None | bool():
                return value
        checked = await self._said(str(value))
        hits += checked.hits
        return checked.text if checked.text != str(value) else value

    async def _passages(self, passages: tuple[Passage, ...]) -> tuple[tuple[Passage, ...], tuple[GuardrailFired, ...]]:
        chain = self._guards.retrieval
        if not passages or not chain.links:
            return passages, ()
        kept: list[Passage] = []
        lowered: list[Passage] = []
        events: list[GuardrailFired] = []
        for passage in passages:
            checked, title = await self._looked_at(passage, chain)
            if checked.text != passage.text or title != passage.title:
                passage = replace(passage, text=checked.text, title=title)
            down = self._guards.lower and any(hit.ruling is Ruling.FLAG for hit in checked.hits)
            if checked.ruling is not Ruling.BLOCK:
                (lowered if down else kept).append(passage)
            done = {Ruling.BLOCK: "left_out", Ruling.FLAG: "lowered" if down else "flagged"}
            events += fired("retrieval", checked, done)
        return ((*kept, *lowered), tuple(dict.fromkeys(events))) if events else (passages, ())

    async def _looked_at(self, passage: Passage, chain: Chain) -> tuple[Checked, str]:
        """The passage's text and title; what is found in the title counts as found in the text."""
        title = await chain.check(passage.title, self._about)
        text = await chain.check(passage.text, self._about)
        return replace(text, hits=(*text.hits, *title.hits)), title.text

    def _trusted(self) -> Ground:
        """Read once for each state: an answer may have a thousand links, and a question 340 kB."""
        state = self._state()
        if self._ground is None or self._ground[0] is not state:
            self._ground = (state, self._trusted_in(state))
        return self._ground[1]

    def _trusted_in(self, state: RunState) -> Ground:
        passages = (p for p in state.passages.values() if p.label.integrity is not Integrity.UNTRUSTED)
        said = (
            part.text
            for message in state.messages
            if message.role is not Role.ASSISTANT
            for part in message.parts
            if isinstance(part, Text) and part.label.integrity is not Integrity.UNTRUSTED
        )
        known = (text for passage in passages for text in (passage.text, passage.uri))
        return Ground((*state.words, self._spec.instructions, *known, *said))


_DONE: Mapping[Ruling, str] = {
    Ruling.FLAG: "flagged",
    Ruling.REDACT: "redacted",
    Ruling.ASK: "review",
    Ruling.BLOCK: "withheld",
}


def fired(layer: Layer, checked: Checked, done: Mapping[Ruling, str] | None = None) -> tuple[GuardrailFired, ...]:
    """What is written down of what was found: each rule once.

    Args:
        done: What was done, by ruling, where it is not what is usual.
    """
    actions = {**_DONE, **(done or {})}
    return tuple(
        GuardrailFired(layer=layer, verdict=ruling.value, rule=rule, action=actions[ruling])
        for rule, ruling in checked.rules
    )
