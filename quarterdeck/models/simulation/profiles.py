"""What a tool offers, read from its name, description and schema alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from quarterdeck.models.base import ToolSpec
from quarterdeck.models.simulation.language import concepts, spaced, stem
from quarterdeck.models.simulation.verbs import NOUN_VERBS, READ_ACTS, WRITE_ACTS, act_of, chinese_act
from quarterdeck.models.simulation.words import shape_of

__all__ = ["Effect", "Parameter", "Profile", "Slot", "parameters_of", "resolve"]


class Slot(StrEnum):
    """The kind of value a parameter wants."""

    QUERY = "query"
    TITLE = "title"
    PROSE = "prose"
    ID = "id"
    EMAIL = "email"
    URL = "url"
    DATE = "date"
    TIME = "time"
    MOMENT = "moment"
    ENUM = "enum"
    BOOLEAN = "boolean"
    NUMBER = "number"
    ARRAY = "array"
    OBJECT = "object"
    PLACE = "place"
    PERSON = "person"
    ORIGIN = "origin"
    GOAL = "goal"
    CURRENCY = "currency"
    TEXT = "text"


class Effect(StrEnum):
    """What a tool seems to do to the world."""

    READ = "read"
    WRITE = "write"
    UNKNOWN = "unknown"


_NAMED = (
    (Slot.QUERY, "query q question search keyword keywords phrase topic 查询 问题 关键词 关键字"),
    (Slot.ID, "id ids number no code key ref reference identifier uuid sku iban 编号 号码 单号 工号 号"),
    (Slot.EMAIL, "email mail mailbox 邮箱 邮件"),
    (Slot.URL, "url uri link website 链接 网址"),
    (Slot.CURRENCY, "currency currencies 货币 币种"),
    (Slot.DATE, "date day birthday deadline due 日期"),
    (Slot.TIME, "time hour 时间"),
    (Slot.ORIGIN, "from origin source departure 出发地 起点"),
    (Slot.GOAL, "to destination dest arrival target 目的地 终点"),
    (Slot.TITLE, "title subject summary headline 标题 主题 摘要"),
    (
        Slot.PROSE,
        (
            "description body content message details text note notes comment comments reason explanation justification "
            "problem issue remarks feedback prompt 描述 内容 说明 原因 备注 正文 理由 详情"
        ),
    ),
    (
        Slot.PLACE,
        "city location place country region area office town address where destination_city 城市 地点 地区 国家 地址 位置",
    ),
    (
        Slot.PERSON,
        (
            "person user employee assignee recipient contact manager customer guest owner attendee attendees member who "
            "colleague name 员工 姓名 用户 客户 收件人 联系人 负责人 参会人"
        ),
    ),
)
_SLOTS = {word: slot for slot, words in _NAMED for word in words.split()}
_CHINESE_SLOTS = tuple((word, slot) for word, slot in _SLOTS.items() if not word.isascii())
_EXAMPLE = re.compile(
    r"(?:e\.?g\.?|such as|for example|like|example:?|例如|比如|如)[\s:：,]*[\"'“`(]?([A-Za-z0-9][\w./-]*\d[\w-]*)",
    re.IGNORECASE,
)
_BARE_EXAMPLE = re.compile(r"(?<![\w-])([A-Za-z]{1,8}[-_#]?\d{2,}[\w-]*)")
_WHOLE = re.compile(
    r"\b(?:whole|entire|full) question\b|完整的?问题|整个问题", re.IGNORECASE
)  # what a search wants to be asked
_GENERIC_SEARCH = frozenset(
    map(
        stem,
        "knowledge base kb doc docs document documents article articles web internet information info query wiki faq "
        "help text handbook search find lookup retrieval passage passages content general".split(),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One property of a schema.

    Attributes:
        schema: Without references and without the branch for null.
        terms: Concepts of its name; `about` those of its description.
        shapes: Letters and separator of the ids its description shows as examples.
        pattern: Validates a string against the schema's pattern, None without one (or with one we cannot read).
        nullable: Null is allowed.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    slot: Slot
    terms: frozenset[str]
    about: frozenset[str]
    shapes: frozenset[tuple[str, str]] = frozenset()
    pattern: SchemaValidator | None = None
    nullable: bool = False

    @property
    def type(self) -> str:
        return _type(self.schema)

    def admits(self, text: str) -> bool:
        """True if the string satisfies the pattern."""
        if self.pattern is None:
            return True
        try:
            self.pattern.validate_python(text)
        except ValidationError:
            return False
        return True


class Profile:
    """A tool as the simulated model sees it."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec
        self.name = spec.name
        words = [word.lower() for word in spaced(spec.name).split()]
        self.verb, self.act, self.is_named_for_act = _verb(words, spec.description)
        told = words if self.act is None else [word for word in words if stem(word) != self.verb]
        self.nouns = frozenset(concepts(" ".join(told)))
        self.about = frozenset(concepts(spec.description[:600])) - self.nouns
        self.parameters = parameters_of(spec.input_schema)
        hints: set[str] = set()
        for parameter in self.parameters:
            hints |= parameter.terms | parameter.about
            hints.update(term for value in parameter.schema.get("enum", ()) for term in concepts(str(value)))
        self.hints = frozenset(hints) - self.nouns - self.about

    @property
    def effect(self) -> Effect:
        if self.act in READ_ACTS or self.query is not None:
            return Effect.READ
        return Effect.WRITE if self.act in WRITE_ACTS else Effect.UNKNOWN

    @cached_property
    def query(self) -> Parameter | None:
        """The one free-text parameter of a tool that searches."""
        required = [parameter for parameter in self.parameters if parameter.required]
        if len(required) != 1 or required[0].type != "string" or self.act in WRITE_ACTS:
            return None
        only = required[0]
        if only.slot is Slot.QUERY or (self.act == "find" and only.slot in (Slot.TEXT, Slot.PROSE, Slot.TITLE)):
            return only
        return None

    @cached_property
    def wants_whole(self) -> bool:
        """True for a search that asks for the question as it stands: one that compares meaning and not words alone."""
        return self.query is not None and _WHOLE.search(str(self.query.schema.get("description", ""))) is not None

    @cached_property
    def is_general_search(self) -> bool:
        """True for a search over documents in general, where any question may find its answer."""
        return self.query is not None and (not self.nouns - _GENERIC_SEARCH or bool((self.nouns | self.about) & _KNOWLEDGE))


_KNOWLEDGE = frozenset(map(stem, "knowledge document article handbook faq wiki policy policies web internet".split())) | {
    "知识",
    "文档",
}


def parameters_of(schema: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The properties of an object schema, required ones as marked, in the order of the schema."""
    root = schema
    schema = resolve(schema, root)
    required = frozenset(schema.get("required", ()))
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    return tuple(
        _parameter(str(name), value, root, required=name in required)
        for name, value in properties.items()
        if isinstance(value, Mapping)
    )


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """A schema without its outer reference, its branch for null and its single ``allOf``; nested ones keep theirs.

    Definitions travel with the result under ``$defs``, so that what is nested in it can be resolved later.
    """
    definitions = root.get("$defs") or root.get("definitions") or {}
    while depth < 16:
        depth += 1
        outer = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "oneOf", "allOf")}
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
            inner = definitions.get(reference.rsplit("/", 1)[1])
        else:
            branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
            inner = next((branch for branch in branches if branch.get("type") != "null"), None)
        if not isinstance(inner, Mapping):
            break
        schema = {**inner, **outer}
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        schema = {**schema, "type": kinds[0] if kinds else "null"}
    return {**schema, "$defs": definitions} if definitions else schema


def _parameter(name: str, schema: Mapping[str, Any], root: Mapping[str, Any], *, required: bool) -> Parameter:
    branches = schema.get("anyOf") or schema.get("oneOf") or ()
    kinds = schema.get("type")
    nullable = any(branch.get("type") == "null" for branch in branches) or (isinstance(kinds, list) and "null" in kinds)
    schema = resolve(schema, root)
    description = str(schema.get("description", ""))
    words = [word.lower() for word in spaced(name).split()]
    terms = frozenset(stem(word) for word in words) | frozenset(concepts(spaced(name)))
    slot = _slot(name, words, description, schema)
    return Parameter(
        name=name,
        schema=schema,
        required=required,
        slot=slot,
        terms=terms,
        about=frozenset(concepts(description[:400])),
        shapes=_shapes(slot, description, schema),
        pattern=_pattern(schema.get("pattern")),
        nullable=nullable,
    )


def _slot(name: str, words: list[str], description: str, schema: Mapping[str, Any]) -> Slot:
    kind = _type(schema)
    if "enum" in schema or "const" in schema:
        return Slot.ENUM
    last = words[-1] if words else ""
    by_name = _SLOTS.get(last) or next((slot for word, slot in _CHINESE_SLOTS if name.endswith(word)), None)
    match kind:
        case "boolean":
            return Slot.BOOLEAN
        case "array":
            return Slot.ARRAY
        case "object":
            return Slot.OBJECT
        case "integer" | "number":
            identifies = by_name is Slot.ID and (len(words) == 1 or last not in ("number", "no"))
            return Slot.ID if identifies else Slot.NUMBER
    match schema.get("format"):
        case "email":
            return Slot.EMAIL
        case "uri" | "url":
            return Slot.URL
        case "date":
            return Slot.DATE
        case "time":
            return Slot.TIME
        case "date-time":
            return Slot.MOMENT
        case "uuid":
            return Slot.ID
    first = words[0] if words else ""
    if by_name is Slot.PERSON and last == "name" and len(words) > 1:
        by_name = _SLOTS.get(words[-2], Slot.TEXT if words[-2] not in ("full", "first", "last") else Slot.PERSON)
    if by_name in (None, Slot.PLACE, Slot.PERSON) and first in ("from", "origin", "source", "departure"):
        return Slot.ORIGIN
    if by_name in (None, Slot.PLACE, Slot.PERSON) and first in ("to", "dest", "destination", "arrival", "target"):
        return Slot.GOAL
    if "pattern" in schema and by_name not in (Slot.DATE, Slot.TIME, Slot.EMAIL, Slot.URL, Slot.CURRENCY):
        return Slot.ID
    if by_name is Slot.GOAL and "email" in description.lower():
        return Slot.EMAIL
    if by_name is None and (words and _SLOTS.get(first) in (Slot.DATE, Slot.TIME)):
        return Slot.DATE if _SLOTS[first] is Slot.DATE else Slot.TIME
    if by_name is None and re.search(r"\bYYYY\b|\bISO.?8601\b", description):
        return Slot.DATE
    if by_name is None and last in ("start", "end", "begin") and re.search(r"\bdate\b|日期", description, re.IGNORECASE):
        return Slot.DATE
    return by_name or Slot.TEXT


def _shapes(slot: Slot, description: str, schema: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    if slot is not Slot.ID:
        return frozenset()
    shown = (
        [str(example) for example in schema.get("examples", ())]
        + _EXAMPLE.findall(description)
        + _BARE_EXAMPLE.findall(description)
    )
    return frozenset(shape_of(example) for example in shown)


def _pattern(pattern: object) -> SchemaValidator | None:
    # The engine behind pydantic runs in linear time; a tool's schema may come from outside, and `re` could be made to hang.
    if not isinstance(pattern, str) or len(pattern) > 500:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


def _verb(words: list[str], description: str) -> tuple[str, str | None, bool]:
    """Stem of a tool's verb, its class, and whether the name itself holds it (how a description begins is vaguer)."""
    for index, word in enumerate(words):
        act = act_of(word)
        if act is not None and (word not in NOUN_VERBS or (index == 0 and not _is_noun(words, description))):
            return stem(word), act, True
    told = re.match(r"([a-z]+)(?:\s+(an?|the|all|one|this|every|its|your|new)\b)?", description.lower())
    if told is not None and (act := act_of(told[1])) is not None:
        return stem(told[1]), act, False
    chinese = chinese_act("".join(words)) or chinese_act(description[:12])
    if chinese is not None:
        return "", chinese[0], False
    if told is not None and words and stem(told[1]) == stem(words[0]) and (told[2] or told[1] != words[0]):
        return stem(words[0]), None, True
    return "", None, False


def _is_noun(words: list[str], description: str) -> bool:
    """True if the first word of a name is a noun, as in ``order_status``: the description begins with another verb."""
    told = re.match(r"[a-z]+", description.lower())
    if told is None or len(words) == 1:
        return len(words) == 1 and told is not None and act_of(told.group()) in READ_ACTS
    act = act_of(told.group())
    return act in READ_ACTS and act != act_of(words[0])


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    return "string"
