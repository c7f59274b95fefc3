"""Values made from a JSON Schema: always valid, decided by the dice alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from re import _constants as parts  # type: ignore[attr-defined]  # where the standard library keeps its parser's names
from re import _parser as patterns  # type: ignore[attr-defined]  # the only parser of patterns there is without a dependency
from types import MappingProxyType
from typing import Any

from quarterdeck.devtools.simulator.references import deref
from quarterdeck.devtools.simulator.refusals import Refusal

__all__ = ["generate"]

_WORDS = "alpha amber birch cedar delta ember falcon garnet harbour iris juniper kestrel lagoon maple north opal".split()
_DEEPEST = 6
_ENDLESS = 64  # levels that are required of every value
_LONGEST = 10_000  # characters of a text for a pattern
_FORMATS: Mapping[str, Callable[[Random], str]] = MappingProxyType(
    {
        "date": lambda r: f"20{r.randint(20, 29)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
        "time": lambda r: f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:00Z",
        "date-time": lambda r: (
            f"20{r.randint(20, 29)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randint(0, 23):02}:00:00Z"
        ),
        "duration": lambda r: f"PT{r.randint(1, 59)}M",
        "email": lambda r: f"{r.choice(_WORDS)}@example.com",
        "uri": lambda r: f"https://example.com/{r.choice(_WORDS)}",
        "hostname": lambda r: f"{r.choice(_WORDS)}.example.com",
        "uuid": lambda r: (
            f"{r.getrandbits(32):08x}-{r.getrandbits(16):04x}-4{r.getrandbits(12):03x}-8{r.getrandbits(12):03x}"
            f"-{r.getrandbits(48):012x}"
        ),
        "ipv4": lambda r: f"192.0.2.{r.randint(1, 254)}",
        "ipv6": lambda r: f"2001:db8::{r.randint(1, 0xFFFF):x}",
    }
)


def generate(schema: Mapping[str, Any], random: Random) -> Any:
    """A value valid for `schema`. Optional properties appear about half the time; recursion ends where it may.

    Raises Refusal if it may not.
    """
    return _value(schema, schema, random, 0)


def _value(schema: Any, root: Mapping[str, Any], random: Random, depth: int) -> Any:
    if not isinstance(schema, Mapping) or not schema:
        return random.choice(_WORDS)
    if depth > _ENDLESS:
        raise Refusal(400, f"Invalid schema: no value satisfies it within {_ENDLESS} levels.", code="invalid_json_schema")
    schema = _merged(schema, root, random, depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(list(schema["enum"]))
    kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
    if isinstance(kind, list):
        kind = random.choice([one for one in kind if one != "null"] or ["null"])
    match kind:
        case "object":
            return _object(schema, root, random, depth)
        case "array":
            return _array(schema, root, random, depth)
        case "integer" | "number":
            return _number(schema, random, whole=kind == "integer")
        case "boolean":
            return random.random() < 0.5
        case "null":
            return None
    return _string(schema, random)


def _merged(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> Mapping[str, Any]:
    """`schema` without references and alternatives: one of them is chosen, deep down one that ends."""
    if "$ref" in schema:
        schema = deref(schema, root)
    for group in ("anyOf", "oneOf"):
        options = [deref(one, root) for one in schema.get(group, ())]
        if options:
            simple = [one for one in options if one.get("type") in ("null", "string", "integer", "number", "boolean")]
            full = [one for one in options if one.get("type") != "null"]
            chosen = random.choice((simple if depth > _DEEPEST else full) or options)
            schema = {**{key: value for key, value in schema.items() if key != group}, **chosen}
    for part in schema.get("allOf", ()):
        inner = _merged(part, root, random, depth)
        both = {**schema, **inner}
        for group in ("properties", "required"):
            if group in schema and group in inner:
                both[group] = {**schema[group], **inner[group]} if group == "properties" else [*schema[group], *inner[group]]
        schema = both
    return schema


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    chosen = [name for name in properties if name in required or (depth < _DEEPEST and random.random() < 0.5)]
    value = {name: _value(properties[name], root, random, depth + 1) for name in chosen}
    extra = schema.get("additionalProperties", {})
    for name in sorted(required - set(properties)):
        value[name] = _value(extra if isinstance(extra, Mapping) else {}, root, random, depth + 1)
    while len(value) < schema.get("minProperties", 0):
        value[f"{random.choice(_WORDS)}_{len(value)}"] = _value(extra, root, random, depth + 1)
    return value


def _array(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> list[Any]:
    low = int(schema.get("minItems", 0))
    high = int(schema.get("maxItems", max(low, 2)))
    fixed = [_value(one, root, random, depth + 1) for one in schema.get("prefixItems", ())]
    wanted = low if depth >= _DEEPEST else random.randint(min(max(low, 1), high), min(high, max(low, 3)))
    items = schema.get("items", {})
    value = fixed[:high]
    for _ in range(20 * (wanted + 1)):  # equal items are thrown again, but an enum may have too few different ones
        if len(value) >= wanted or items is False:
            break
        item = _value(items, root, random, depth + 1)
        if not schema.get("uniqueItems") or item not in value:
            value.append(item)
    return value


def _number(schema: Mapping[str, Any], random: Random, *, whole: bool) -> int | float:
    step = schema.get("multipleOf", 1 if whole else 0.01)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None or high > 0 else high - 100 * step
    if high is None:
        high = low + 100 * step
    # Counted in steps: a product of the step is a multiple of it, a value between the bounds need not be.
    first, last = -(-low // step), high // step
    if "exclusiveMinimum" in schema and first * step <= schema["exclusiveMinimum"]:
        first += 1
    if "exclusiveMaximum" in schema and last * step >= schema["exclusiveMaximum"]:
        last -= 1
    if last < first:
        return int(low) if whole else (low + high) / 2
    steps = random.randint(int(first), int(last))
    return int(steps * step) if whole else round(min(max(steps * step, low), high), 10)


def _string(schema: Mapping[str, Any], random: Random) -> str:
    if "pattern" in schema:
        text = _matching(patterns.parse(schema["pattern"]), random, {})
    elif schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]](random)
    else:
        text = " ".join(random.choice(_WORDS) for _ in range(random.randint(1, 3)))
    low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
    if "pattern" in schema:
        return text
    while len(text) < low:
        text = f"{text} {random.choice(_WORDS)}".strip()
    return text if high is None else text[: int(high)]


def _matching(tree: Any, random: Random, groups: dict[int, str]) -> str:
    """A text the parsed pattern matches. Look-arounds and anchors add nothing."""
    text = ""
    for kind, value in tree:
        match kind:
            case parts.LITERAL:
                text += chr(value)
            case parts.NOT_LITERAL:
                text += "a" if chr(value) != "a" else "b"
            case parts.ANY:
                text += random.choice("abcdefghij")
            case parts.IN:
                text += _member(value, random)
            case parts.MAX_REPEAT | parts.MIN_REPEAT | parts.POSSESSIVE_REPEAT:
                low, high, inner = value
                for _ in range(random.randint(low, min(int(high), low + 3))):
                    text += _matching(inner, random, groups)
                    if len(text) > _LONGEST:
                        raise ValueError(f"a text for this pattern is longer than {_LONGEST} characters")
            case parts.SUBPATTERN:
                number, _, _, inner = value
                made = _matching(inner, random, groups)
                if number is not None:
                    groups[number] = made
                text += made
            case parts.ATOMIC_GROUP:
                text += _matching(value, random, groups)
            case parts.BRANCH:
                text += _matching(random.choice(value[1]), random, groups)
            case parts.GROUPREF:
                text += groups.get(value, "")
    return text


_CATEGORIES = MappingProxyType(
    {
        parts.CATEGORY_DIGIT: "0123456789",
        parts.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyz0123456789_",
        parts.CATEGORY_SPACE: " ",
        parts.CATEGORY_NOT_DIGIT: "abcdef",
        parts.CATEGORY_NOT_WORD: "-.,:",
        parts.CATEGORY_NOT_SPACE: "abcdef0123",
    }
)
_PRINTABLE = "".join(map(chr, range(0x61, 0x7B))) + "".join(map(chr, range(0x20, 0x61)))


def _member(members: Any, random: Random) -> str:
    """A character of a class in brackets."""
    allowed, negated = "", False
    for kind, value in members:
        match kind:
            case parts.NEGATE:
                negated = True
            case parts.LITERAL:
                allowed += chr(value)
            case parts.RANGE:
                low, high = value
                allowed += "".join(map(chr, range(low, min(high, low + 128) + 1)))
            case parts.CATEGORY:
                allowed += _CATEGORIES.get(value, "")
    if negated:
        allowed = "".join(char for char in _PRINTABLE if char not in allowed)
    return random.choice(allowed or "a")
