"""The simulated model: no network, no key, no chance. It chooses tools by their schemas and answers by extraction.

It reads what any model reads (messages, tools, schemas) and knows nothing else, so that a whole system can be run, shown
and tested without a provider. It has a small context: of a long message it reads the beginning and the end, at most 2,000
characters of each, and of many clauses the first and the last twelve. The parts, in the order they are used, are in
`quarterdeck.models.simulation`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Image, Role, ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, ModelRequest, ToolSpec
from quarterdeck.models.simulation import phrases
from quarterdeck.models.simulation.answer import Said, compose, render
from quarterdeck.models.simulation.asks import small_talk
from quarterdeck.models.simulation.choose import Wish, fewer_terms, likeliest, make_plan
from quarterdeck.models.simulation.describe import tool_label
from quarterdeck.models.simulation.dialogue import Dialogue, read_dialogue
from quarterdeck.models.simulation.language import label_of
from quarterdeck.models.simulation.profiles import Parameter, Profile
from quarterdeck.models.simulation.rephrase import rephrased
from quarterdeck.models.simulation.results import Status
from quarterdeck.models.simulation.structured import Facts, structured
from quarterdeck.models.tokens import count_tokens, part_tokens

__all__ = ["SimulatedModel"]

_PROFILES_KEPT = 256
_OVERHEAD = 4  # tokens a message costs beside its text
_PIECE = re.compile(r"\S+\s*|\s+")


class SimulatedModel:
    """A deterministic `Model` that answers from what it is given."""

    def __init__(self, name: str = "simulated") -> None:
        self._name = name
        self._profiles: dict[str, Profile] = {}

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        """Answer at once; raises DeadlineExceeded when the caller has stopped waiting."""
        ctx.remaining_s()
        dialogue = read_dialogue(request.messages)
        profiles = {spec.name: self._profile(spec) for spec in request.tools}
        calls = [] if request.tool_choice == "none" else _calls(dialogue, profiles, request.tool_choice)
        text = ""
        if not calls:
            said = _said(dialogue, profiles, request.tool_choice)
            if request.tool_choice == "auto" and all(one.is_empty for one in said):
                calls = _numbered(_second_search(dialogue, profiles), dialogue)
            text = "" if calls else _text(said, dialogue, request)
        finish = "tool_calls" if calls else "stop"
        if request.max_tokens is not None and not calls and count_tokens(text) > request.max_tokens:
            text, finish = _cut(text, request.max_tokens), "length"
        if emit is not None:
            await _stream(emit, text, calls)
        return Completion(
            text=text,
            tool_calls=tuple(calls),
            finish_reason=finish,  # type: ignore[arg-type]  # a literal chosen above
            usage=_usage(request, text, calls),
            model=self._name,
        )

    def _profile(self, spec: ToolSpec) -> Profile:
        """What is known of a tool, read once as long as its declaration stays the same."""
        known = self._profiles.get(spec.name)
        if known is None or (known.spec is not spec and known.spec != spec):
            if len(self._profiles) >= _PROFILES_KEPT:
                self._profiles.clear()
            known = self._profiles[spec.name] = Profile(spec)
        return known


def _calls(dialogue: Dialogue, profiles: Mapping[str, Profile], choice: str) -> list[ToolCall]:
    """The calls to make now; none when it is time to answer."""
    if not profiles or not dialogue.question:
        return []
    offered = list(profiles.values())
    if choice not in ("auto", "required"):
        named = profiles.get(choice)
        return _numbered(make_plan(dialogue, offered, forced=named).wishes, dialogue) if named is not None else []
    results = tuple(_decoded(dialogue))
    if choice == "required":
        plan = make_plan(dialogue, offered, results)
        best = likeliest(dialogue, offered)
        return _numbered(plan.wishes or make_plan(dialogue, offered, results, forced=best).wishes, dialogue)
    if dialogue.rejections or small_talk(dialogue.question):
        return []
    wishes: Sequence[Wish] = _open_wishes(make_plan(dialogue, offered, results).wishes, dialogue)
    if dialogue.given:  # somebody has searched already; once more only if nothing in that answers
        wishes = [wish for wish in wishes if wish.profile.query is None]
    if not wishes and dialogue.steps:
        wishes = _mended_call(dialogue, profiles)
    return _numbered(wishes, dialogue)


def _open_wishes(wishes: Sequence[Wish], dialogue: Dialogue) -> list[Wish]:
    """Wishes no call has been made for yet. Counted by tool: new results may change what the same wish would say."""
    made = Counter(step.call.name for step in dialogue.steps)
    left = []
    for wish in wishes:
        if made[wish.profile.name] > 0:
            made[wish.profile.name] -= 1
        else:
            left.append(wish)
    return left


def _mended_call(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Wish]:
    """The last call once more without the optional argument its error names, or with the right kind of value for it."""
    step = dialogue.steps[-1]
    profile = profiles.get(step.call.name)
    if profile is None or step.result is None or step.outcome is None or step.outcome.status is not Status.ERROR:
        return []
    if sum(other.call.name == step.call.name for other in dialogue.steps) > 1:
        return []
    named = [p for p in profile.parameters if re.search(rf"(?<!\w){re.escape(p.name)}(?!\w)", step.result)]
    args = dict(step.call.args)
    for parameter in named:
        if parameter.name in args and not parameter.required:
            del args[parameter.name]
        elif "default" in parameter.schema:
            args[parameter.name] = parameter.schema["default"]
    extra = [name for name in args if name not in {p.name for p in profile.parameters}]
    for name in extra:
        del args[name]
    return [Wish(profile, args)] if args != step.call.args else []


def _second_search(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Wish]:
    """One more search in other words or with fewer, when the only one so far gave nothing that answers.

    Where that one was made before we were asked, it is ours that comes now.
    """
    searches = [step for step in dialogue.steps if step.call.name in profiles and profiles[step.call.name].query is not None]
    if dialogue.given and not searches and not dialogue.rejections:
        planned = make_plan(dialogue, list(profiles.values())).wishes
        return [wish for wish in planned if wish.profile.query is not None]
    if len(searches) != 1 or dialogue.rejections:
        return []
    step = searches[0]
    profile = profiles[step.call.name]
    if profile.query is None or step.outcome is None or step.outcome.status not in (Status.PASSAGES, Status.EMPTY):
        return []
    query = str(step.call.args.get(profile.query.name, ""))
    other = rephrased(query) if rephrased(query) != query else fewer_terms(query, dialogue)
    return [Wish(profile, {**step.call.args, profile.query.name: other})] if other else []


def _numbered(wishes: Sequence[Wish], dialogue: Dialogue) -> list[ToolCall]:
    before = len(dialogue.past) + len(dialogue.steps)
    return [ToolCall(id=f"call_{before + i}", name=wish.profile.name, args=wish.args) for i, wish in enumerate(wishes)]


def _decoded(dialogue: Dialogue) -> list[Any]:
    outcomes = (step.outcome for step in (*dialogue.past, *dialogue.steps))
    return [outcome.value for outcome in outcomes if outcome is not None and outcome.status is Status.VALUE]


def _said(dialogue: Dialogue, profiles: Mapping[str, Profile], choice: str) -> list[Said]:
    """What to say when nothing is to be called: a question back, or the answer."""
    asking = _asking(dialogue, profiles) if choice != "none" else None
    return asking if asking is not None else compose(dialogue, profiles)


def _text(said: list[Said], dialogue: Dialogue, request: ModelRequest) -> str:
    if request.output_schema is None:
        return render([*said, *_unseen(request, dialogue)])
    waits = any(step.outcome is not None and step.outcome.status is Status.PENDING for step in dialogue.steps)
    facts = Facts(
        question=dialogue.question,
        answer=render(said),
        plain=" ".join(one.text for one in said if not one.is_empty) or dialogue.question,
        cited=tuple(dict.fromkeys(one.source for one in said if one.source)),
        results=tuple(_decoded(dialogue)),
        tools=tuple(step.call.name for step in dialogue.steps),
        needs_review=waits or any(one.is_empty for one in said),
    )
    return json.dumps(structured(request.output_schema, facts), ensure_ascii=False)


def _unseen(request: ModelRequest, dialogue: Dialogue) -> list[Said]:
    """The confession that the pictures of the question were not looked at, if there are any."""
    asked = next((message for message in reversed(request.messages) if message.role is Role.USER), None)
    shown = asked is not None and any(isinstance(part, Image) for part in asked.parts)
    return [Said(phrases.blind(dialogue.chinese))] if shown else []


def _asking(dialogue: Dialogue, profiles: Mapping[str, Profile]) -> list[Said] | None:
    """The question back to the user when a wanted call lacks something nobody said."""
    if not profiles or dialogue.steps or dialogue.rejections or small_talk(dialogue.question):
        return None
    lacking = make_plan(dialogue, list(profiles.values())).lacking
    if lacking is None:
        return None
    profile, missing = lacking
    names = [_called(parameter, dialogue.chinese) for parameter in missing]
    return [Said(phrases.ask_for(dialogue.chinese, names, tool_label(profile.name, profile, chinese=dialogue.chinese)))]


def _called(parameter: Parameter, chinese: bool) -> str:
    """How to ask for a parameter: its name in words, with its first example."""
    example = next((prefix + separator for prefix, separator in sorted(parameter.shapes) if prefix), "")
    label = label_of(parameter.name, chinese=chinese)
    if not example:
        return label
    return f"{label}（如 {example}…）" if chinese else f"{label} (such as {example}…)"


def _cut(text: str, max_tokens: int) -> str:
    pieces = _PIECE.findall(text)
    low, high = 0, len(pieces)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens("".join(pieces[:middle])) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return "".join(pieces[:low]).rstrip()


async def _stream(emit: Emit, text: str, calls: Sequence[ToolCall]) -> None:
    n = 0
    for piece in _PIECE.findall(text):
        await emit(Delta(kind="text", text=piece, n=n))
        n += 1
    for call in calls:
        await emit(Delta(kind="tool_start", text=call.name, n=n, call_id=call.id))
        n += 1


def _usage(request: ModelRequest, text: str, calls: Sequence[ToolCall]) -> Usage:
    """Our own count of tokens: of what was read and of what was written."""
    prompt = 0
    for message in request.messages:
        prompt += _OVERHEAD + sum(map(part_tokens, message.parts))
        for call in message.tool_calls:
            prompt += _OVERHEAD + count_tokens(call.name) + count_tokens(str(call.args))
    for spec in request.tools:
        prompt += count_tokens(spec.name) + count_tokens(spec.description) + count_tokens(str(spec.input_schema))
    written = count_tokens(text) + sum(_OVERHEAD + count_tokens(call.name) + count_tokens(str(call.args)) for call in calls)
    return Usage(prompt_tokens=prompt, completion_tokens=written, cost_usd=0.0, estimated=True)
