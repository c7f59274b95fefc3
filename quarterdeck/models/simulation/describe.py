"""Data of tools in readable words: fields that matter first, identified by what names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quarterdeck.models.simulation import phrases
from quarterdeck.models.simulation.language import concepts, label_of, spaced, stem
from quarterdeck.models.simulation.profiles import Profile

__all__ = ["describe_call", "describe_value", "noun_label", "tool_label"]

_FIELDS = 6
_ROWS = 5
_CUT = 160
_IDENTIFYING = (
    "id",
    "key",
    "number",
    "code",
    "reference",
    "ref",
    "name",
    "title",
    "subject",
    "编号",
    "名称",
    "姓名",
    "标题",
)


def tool_label(name: str, profile: Profile | None, *, chinese: bool) -> str:
    """What a reader calls the tool: its name in words."""
    words = spaced(name).lower()
    if chinese and profile is not None and profile.spec.description and not profile.spec.description.isascii():
        return profile.spec.description.split("\n")[0].strip(" 。.")[:30]
    return words


def noun_label(name: str, profile: Profile | None, *, chinese: bool) -> str:
    """What a tool's result is called: its name without the verb."""
    verb = profile.verb if profile is not None else ""
    words = [word for word in spaced(name).lower().split() if stem(word) != verb]
    return label_of("_".join(words), chinese=chinese) if words else tool_label(name, profile, chinese=chinese)


def describe_call(label: str, args: Mapping[str, Any], *, chinese: bool) -> str:
    """A call in words: its name and its short arguments."""
    parts = [
        f"{label_of(str(key), chinese=chinese)} {_scalar(value, chinese)}"
        for key, value in args.items()
        if not isinstance(value, (dict, list)) and value not in (None, "") and len(str(value)) <= _CUT
    ]
    return f"{label}{'：' if chinese else ': '}{phrases.listed(chinese, parts)}" if parts else label


def describe_value(value: Any, args: Mapping[str, Any], label: str, asked: frozenset[str], *, chinese: bool) -> str:
    """A result in one or a few sentences.

    Args:
        label: Names a bare value, as in "balance: 12.5".
        asked: Concepts of the question: fields it names come first.
    """
    stop = "。" if chinese else "."
    if isinstance(value, Mapping):
        rows = next((inner for inner in value.values() if _is_rows(inner)), None)
        own = _object(value, args, asked, chinese)
        told = f"{own}{stop}" if own else ""
        return " ".join(filter(None, (told, _rows(rows, args, asked, chinese) if rows else "")))
    if _is_rows(value):
        return _rows(value, args, asked, chinese)
    if isinstance(value, list):
        told = phrases.listed(chinese, (_scalar(item, chinese) for item in value[:20]))
        return f"{label}{'：' if chinese else ': '}{told}{stop}"
    if isinstance(value, str):
        return (
            value
            if " " in value.strip() or len(value) > 30 or (chinese and len(value) > 8)
            else _bare(label, args, value, chinese)
        )
    return _bare(label, args, value, chinese)


def _bare(label: str, args: Mapping[str, Any], value: Any, chinese: bool) -> str:
    what = describe_call("", args, chinese=chinese).lstrip("：: ")
    named = f"{label}（{what}）" if chinese and what else f"{label} ({what})" if what else label
    return f"{named}：{_scalar(value, True)}。" if chinese else f"{named}: {_scalar(value, False)}."


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _rows(rows: Sequence[Mapping[str, Any]], args: Mapping[str, Any], asked: frozenset[str], chinese: bool) -> str:
    stop = "。" if chinese else "."
    told = [f"{line}{stop}" for row in rows[:_ROWS] if (line := _object(row, args, asked, chinese))]
    if len(rows) > _ROWS:
        told.append(phrases.more(chinese, len(rows) - _ROWS))
    return " ".join(told)


def _object(value: Mapping[str, Any], args: Mapping[str, Any], asked: frozenset[str], chinese: bool) -> str:
    fields = list(_fields(value))
    given = {str(arg) for arg in args.values()}
    named = [field for field in fields if _rank(field[0]) < len(_IDENTIFYING)]
    head = min(named, key=lambda field: (str(field[1]) not in given, _rank(field[0])), default=None)
    rest = [field for field in fields if field is not head and (len(str(field[1])) <= _CUT or _is_asked(field[0], asked))]
    rest.sort(key=lambda field: not _is_asked(field[0], asked))
    between = " " if head is not None else ": "
    parts = [f"{label_of(key, chinese=chinese)}{between}{_scalar(inner, chinese)}" for key, inner in rest[:_FIELDS]]
    told = phrases.listed(chinese, parts)
    if head is None:
        return told
    return (
        f"{_scalar(head[1], chinese)}{'：' if chinese else ': '}{told}"
        if told
        else f"{label_of(head[0], chinese=chinese)} {head[1]}"
    )


def _fields(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            if not prefix:
                yield from _fields(inner, f"{name} ")
        elif isinstance(inner, list):
            if inner and all(not isinstance(item, (dict, list)) for item in inner):
                yield name, inner[:10]
        elif inner is not None and inner != "":
            yield name, inner


def _rank(key: str) -> int:
    words = spaced(key).lower().split()
    last = words[-1] if words else key
    return _IDENTIFYING.index(last) if last in _IDENTIFYING else len(_IDENTIFYING)


def _is_asked(key: str, asked: frozenset[str]) -> bool:
    return any(stem(word) in asked for word in spaced(key).lower().split()) or bool(frozenset(concepts(spaced(key))) & asked)


def _scalar(value: Any, chinese: bool) -> str:
    if isinstance(value, bool):
        return ("是" if value else "否") if chinese else ("yes" if value else "no")
    if isinstance(value, list):
        return ("、" if chinese else " / ").join(_scalar(item, chinese) for item in value)
    return str(value).strip().rstrip(".。")
