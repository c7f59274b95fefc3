"""From a function's signature to a JSON Schema for the model, and from a model's arguments back to Python values.

Arguments are read as JSON and strictly: a text is no number, a number no truth value, and what the schema does not name is
refused. A number without a fraction is an integer however it is written, as JSON Schema has it.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Optional, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, SchemaError, to_jsonable_python

from quarterdeck.core.errors import InvalidArguments, Misconfigured
from quarterdeck.core.ids import canonical_json
from quarterdeck.core.tools import ToolContext
from quarterdeck.tools.docstring import read_docstring

__all__ = ["Parameters", "read_parameters"]

_EXACT_INTEGERS = 2.0**53
_MAX_PROBLEMS = 10
_JSON = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps makes an encoder per call


class _Arguments(BaseModel):
    """The base of every arguments model. Fields are named by position, so no parameter's name can clash with pydantic's."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class _Schema(GenerateJsonSchema):
    """A default that is no JSON value is left out of the schema without a warning: the function still has it."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a function takes.

    Attributes:
        names: Parameter → field of `model`, in order.
        positional: Parameters that can only be given by position.
        context: Parameters that receive the `ToolContext`; hidden from the schema.
        defaults: Defaults as JSON values, where they are any: what a person approves is the whole call.
        has_sets: A set's order is random per process and has to be fixed, or equal calls would have unequal hashes.
    """

    tool: str
    model: type[BaseModel]
    schema: Mapping[str, Any]
    names: Mapping[str, str]
    positional: tuple[str, ...]
    context: tuple[str, ...]
    defaults: Mapping[str, Any]
    has_sets: bool

    def bind(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Validate `args` and return them as normalised JSON values, with defaults.

        Raises:
            InvalidArguments: They do not fit; the message tells a model how to repair each.
        """
        if not args and not self.model.model_fields:
            return {}
        try:
            value = self._validate(args)
        except ValidationError as error:
            raise InvalidArguments(self._explain(error)) from error
        except (ValueError, RecursionError) as error:
            raise InvalidArguments(f"The arguments of {self.tool} cannot be used: {error}.") from error
        dumped = value.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
        if self.has_sets:
            dumped = _ordered(value.model_dump(mode="python", by_alias=True, exclude_unset=True, warnings=False), dumped)
        return {**self.defaults, **dumped}

    def call(self, args: Mapping[str, Any], ctx: ToolContext) -> tuple[list[Any], dict[str, Any]]:
        """Bound arguments as Python values: those given by position, those by name."""
        # A default is taken as the function has it: it need not satisfy its own constraints, and may be any object.
        given = {name: value for name, value in args.items() if not self._is_default(name, value)}
        value = self._validate(given) if self.names else None
        named = {name: getattr(value, attribute) for name, attribute in self.names.items()}
        named.update(dict.fromkeys(self.context, ctx))
        return [named.pop(name) for name in self.positional], named

    def _is_default(self, name: str, value: Any) -> bool:
        return name in self.defaults and type(self.defaults[name]) is type(value) and bool(self.defaults[name] == value)

    def _validate(self, args: Mapping[str, Any]) -> BaseModel:
        return self.model.model_validate_json(_JSON(_plain(args)), strict=True)

    def _explain(self, error: ValidationError) -> str:
        problems = error.errors(include_url=False, include_context=False)
        lines = [f"The arguments of {self.tool} do not fit its schema:"]
        for problem in problems[:_MAX_PROBLEMS]:
            place = ".".join(map(str, problem["loc"])) or "arguments"
            if problem["type"] == "extra_forbidden":
                lines.append(f"- {place}: there is no such argument; the arguments are {', '.join(self.names) or 'none'}")
            elif problem["type"] == "missing":
                lines.append(f"- {place}: is required")
            else:
                lines.append(f"- {place}: {problem['msg']} (got {_shown(problem['input'])})")
        if len(problems) > _MAX_PROBLEMS:
            lines.append(f"- and {len(problems) - _MAX_PROBLEMS} more")
        return "\n".join(lines)


def read_parameters(function: Callable[..., Any], name: str, namespace: Mapping[str, Any] | None = None) -> Parameters:
    """Read the signature and docstring of `function`.

    Args:
        namespace: Names visible where the function was written, for annotations that are text and name local types.

    Raises:
        Misconfigured: A parameter has no annotation or one without a JSON Schema, or takes any number of values.
    """
    described = read_docstring(function).parameters
    hints = _hints(function, name, namespace)
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    positional: list[str] = []
    context: list[str] = []
    defaults: dict[str, Any] = {}
    for parameter in _signature(function, name):
        if parameter.name not in hints:
            raise Misconfigured(f"tool {name}: parameter {parameter.name!r} needs a type annotation")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(parameter.name)
        base, metadata = _unwrapped(hints[parameter.name])
        if base is ToolContext:
            context.append(parameter.name)
            continue
        if parameter.default is None:
            base = Optional[base]  # noqa: UP045 - the type is a value here; "| None" fails on forward references
        names[parameter.name] = attribute = f"p{len(names)}"
        description = [Field(description=described[parameter.name])] if parameter.name in described else []
        annotation = Annotated[(base, *description, *metadata, Field(alias=parameter.name))]  # type: ignore[valid-type]  # made at run time
        fields[attribute] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
        _note_default(parameter, defaults)
    model, schema = _model(name, fields)
    return Parameters(
        tool=name,
        model=model,
        schema=schema,
        names=names,
        positional=tuple(positional),
        context=tuple(context),
        defaults=defaults,
        has_sets='"uniqueItems"' in json.dumps(schema),
    )


def _signature(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise Misconfigured(f"tool {name}: its signature cannot be read: {error}") from error
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Misconfigured(f"tool {name}: {parameter} takes anything; name each parameter so that a schema can be made")
    return parameters


def _hints(function: Callable[..., Any], name: str, namespace: Mapping[str, Any] | None) -> dict[str, Any]:
    target: Any = inspect.unwrap(function)
    while hasattr(target, "func"):  # functools.partial
        target = target.func
    if not inspect.isroutine(target) and not inspect.isclass(target):
        target = target.__call__
    local = {key: value for key, value in (namespace or {}).items() if key not in getattr(target, "__globals__", {})}
    try:
        return get_type_hints(target, localns=local, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        why = f"{error}; types must be importable where the tool is declared, not only for type checking"
        raise Misconfigured(f"tool {name}: an annotation cannot be resolved: {why}") from error


def _unwrapped(hint: Any) -> tuple[Any, list[Any]]:
    """The type and its metadata; a bare text in `Annotated` is a description."""
    if get_origin(hint) is not Annotated:
        return hint, []
    base, *metadata = get_args(hint)
    return base, [Field(description=item) if isinstance(item, str) else item for item in metadata]


def _note_default(parameter: inspect.Parameter, defaults: dict[str, Any]) -> None:
    default = parameter.default
    if isinstance(default, FieldInfo):
        default = default.get_default(call_default_factory=False) if not default.is_required() else parameter.empty
    if default is parameter.empty:
        return
    try:
        defaults[parameter.name] = to_jsonable_python(default)
    except (PydanticSerializationError, ValueError):
        return  # a sentinel: only the function knows what it means


def _model(name: str, fields: dict[str, Any]) -> tuple[type[BaseModel], dict[str, Any]]:
    try:
        model = create_model(name, __base__=_Arguments, **fields)
        schema = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    except (PydanticUserError, PydanticSchemaGenerationError, SchemaError, TypeError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise Misconfigured(f"tool {name}: a parameter's type has no JSON Schema: {first}") from error
    if '"format": "password"' in json.dumps(schema):
        raise Misconfigured(f"tool {name}: a secret cannot be an argument, since a model would have to know it")
    untitled = _untitled(schema)
    untitled.setdefault("properties", {})
    untitled.pop("description", None)  # the base's docstring; the tool has its own
    return model, untitled


def _untitled(node: Any, *, named: bool = False) -> Any:
    """`node` without the titles pydantic makes of names: a model reads them with every call and learns nothing."""
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value
        if key in ("default", "const", "enum", "examples") and not named
        else _untitled(value, named=key in ("properties", "$defs") and not named)
        for key, value in node.items()
        if named or key != "title"
    }


def _plain(value: Any) -> Any:
    """Decoded JSON with whole numbers as integers. Raises ValueError for a NUL, which most targets cannot store."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a text contains the character NUL")
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_INTEGERS:
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if type(value) is dict or isinstance(value, Mapping):  # nearly all are the former, and that is quick to tell
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _ordered(python: Any, dumped: Any) -> Any:
    """`dumped` with the lists that were sets in `python` sorted."""
    if isinstance(python, set | frozenset):
        return sorted(dumped, key=canonical_json)
    if isinstance(python, Mapping) and isinstance(dumped, dict):
        return {key: _ordered(value, dumped[key]) for key, value in zip(dumped, python.values(), strict=True)}
    if isinstance(python, list | tuple) and isinstance(dumped, list):
        return [_ordered(left, right) for left, right in zip(python, dumped, strict=True)]
    return dumped


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
