"""Values in layers: who said what, and where to find the one whose value was wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["Layer", "checked", "from_environment", "merged"]


@dataclass(frozen=True, slots=True)
class Layer:
    """Some values and who said them.

    Attributes:
        where: Tells the place (file and line, variable) of the value at a path.
    """

    data: Mapping[str, Any]
    where: Callable[[Sequence[str | int]], str]


_Model = TypeVar("_Model", bound=BaseModel)


def from_environment(targets: Mapping[str, Sequence[str]], environ: Mapping[str, str], problems: list[str]) -> Layer:
    """Some variables of the environment as a layer. A value that is a JSON object or list is read as such.

    Args:
        targets: Path of keys by variable; of two variables with one path the later holds.
    """
    names = {tuple(target): name for name, target in targets.items() if environ.get(name)}
    data: dict[str, Any] = {}
    for target, name in sorted(names.items()):
        try:
            _assign(data, target, _value(environ[name]))
        except ValueError as error:
            problems.append(f"{name}: {error}")

    def where(loc: Sequence[str | int]) -> str:
        path = tuple(str(part) for part in loc)
        return next((name for target, name in names.items() if path[: len(target)] == target), "environment")

    return Layer(data, where)


def _value(text: str) -> object:
    if text[:1] not in "[{":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"looks like JSON and is none: {error}") from error


def _assign(data: dict[str, Any], target: Sequence[str], value: object) -> None:
    *parents, last = target
    for part in parents:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ValueError(f"{part} is set as a whole by another variable")
    data[last] = value


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The values of all layers, later ones over earlier ones, mappings key by key."""
    values: dict[str, Any] = {}
    for layer in layers:
        values = _over(values, layer.data)
    return values


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _over(result[key], value) if both else value
    return result


def checked(kind: type[_Model], layers: Sequence[Layer], problems: list[str]) -> _Model | None:
    """The value of the merged layers; None, and a line in `problems` for each mistake, if they do not fit the schema."""
    for layer in layers:
        if not isinstance(layer.data, Mapping):
            problems.append(f"{layer.where(())}: must be a mapping of keys to values")
            return None
    try:
        return kind.model_validate(merged(layers))
    except ValidationError as error:
        problems += [_problem(detail, layers) for detail in error.errors(include_url=False, include_context=False)]
        return None


def _problem(detail: ErrorDetails, layers: Sequence[Layer]) -> str:
    loc = detail["loc"]
    best, depth = layers[-1], -1
    for layer in layers:
        reached = _depth(layer.data, loc)
        if reached >= depth and (reached or depth < 0):
            best, depth = layer, reached
    name = ".".join(str(part) for part in loc)
    said = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(detail["type"], detail["msg"])
    return f"{best.where(loc[: max(depth, 0)])}: {name}: {said}"


def _depth(data: object, loc: Sequence[str | int]) -> int:
    """How many steps of `loc` exist in `data`."""
    for step, part in enumerate(loc):
        try:
            data = data[part]  # type: ignore[index]  # any container will do; what is none raises
        except (KeyError, IndexError, TypeError):
            return step
    return len(loc)
