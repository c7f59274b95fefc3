"""``POST /v1/moderations``: a short list of words per category stands for the classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quarterdeck.devtools.simulator.checks import missing, typed
from quarterdeck.devtools.simulator.exchange import Answer, Incoming, whole
from quarterdeck.devtools.simulator.refusals import Refusal

__all__ = ["moderate"]

_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "harassment": frozenset("idiot moron stupid loser 白痴 蠢货".split()),
        "harassment/threatening": frozenset(),
        "hate": frozenset("vermin subhuman".split()),
        "hate/threatening": frozenset(),
        "illicit": frozenset("launder counterfeit smuggle 洗钱".split()),
        "illicit/violent": frozenset("bomb explosive 炸弹".split()),
        "self-harm": frozenset("suicide 自杀".split()),
        "self-harm/intent": frozenset(),
        "self-harm/instructions": frozenset(),
        "sexual": frozenset("porn pornographic 色情".split()),
        "sexual/minors": frozenset(),
        "violence": frozenset("kill murder stab shoot attack 杀 杀死 谋杀".split()),
        "violence/graphic": frozenset("gore dismember".split()),
    }
)
_IMAGES = frozenset("self-harm self-harm/intent self-harm/instructions sexual violence violence/graphic".split())
_WORD = re.compile(r"[a-z]+")
_FLAGGED = 0.5


def moderate(incoming: Incoming) -> Answer:
    """A result per input; the first listed word of a category scores 0.9, none 0.0001."""
    body = incoming.object("openai")
    if "input" not in body:
        raise missing("input")
    model = typed(body.get("model", "omni-moderation-latest"), str, "model")
    results = [_result(text, has_image=has_image) for text, has_image in _inputs(body["input"])]
    return whole({"id": incoming.dice.id("modr-"), "model": model, "results": results})


def _inputs(given: Any) -> list[tuple[str, bool]]:
    if isinstance(given, str):
        return [(given, False)]
    if not isinstance(given, list) or not given:
        raise Refusal(400, "Invalid 'input': expected a string or a non-empty array.", param="input", code="invalid_type")
    if all(isinstance(item, str) for item in given):
        return [(item, False) for item in given]
    # Parts of one multimodal input are judged together.
    texts, has_image = [], False
    for index, part in enumerate(given):
        typed(part, dict, f"input[{index}]")
        if part.get("type") == "image_url":
            has_image = True
        else:
            texts.append(typed(part.get("text"), str, f"input[{index}].text"))
    return [("\n".join(texts), has_image)]


def _result(text: str, *, has_image: bool) -> dict[str, Any]:
    words = set(_WORD.findall(text.lower()))
    scores = {}
    for category, listed in _WORDS.items():
        hit = bool(words & listed) or any(word in text for word in listed if not word.isascii())
        scores[category] = 0.9 if hit else 0.0001
    applied = {category: ["text", "image"] if has_image and category in _IMAGES else ["text"] for category in _WORDS}
    return {
        "flagged": max(scores.values()) >= _FLAGGED,
        "categories": {category: score >= _FLAGGED for category, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": applied,
    }
