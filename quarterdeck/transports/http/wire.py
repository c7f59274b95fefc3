"""JSON in and out. From outside it is read strictly (security rule 25); going out, dataclasses are written as they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, get_args, get_origin
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import ImmutableMultiDict

from quarterdeck.core.errors import InvalidInput
from quarterdeck.transports.http.errors import Refused

__all__ = ["ControlRoute", "Json", "StrictRoute", "dump", "parsed", "parsed_once", "refuse_repeated", "refuse_unknown"]

MAX_DEPTH = 64
MAX_ITEMS = 10_000  # commas in a body: bounds members and elements, and with them the work of naming what is wrong


def _plain(value: object) -> object:
    """What orjson cannot write by itself: mappings that are no dict."""
    if hasattr(value, "items"):
        return dict(value.items())
    raise TypeError(f"{type(value).__name__} is no JSON value")


def dump(value: Any) -> bytes:
    """JSON of plain values, dataclasses, enums, aware datetimes."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z)


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dump(content)


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parsed(await self.body())


class _ControlRequest(_StrictRequest):
    async def json(self) -> Any:
        return parsed_once(await self.body())


class StrictRoute(APIRoute):
    """A route whose body is strict JSON, and whose address says nothing that it does not know."""

    request_class: type[Request] = _StrictRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return strictly

    def unknown(self, request: Request) -> list[str]:
        """The parameters of the request's address that this route has no use for, each once."""
        if not request.scope["query_string"]:
            return []
        known = _parameters(self.dependant)
        return [name for name in dict.fromkeys(request.query_params) if name not in known]

    def check_address(self, request: Request) -> None:
        """Raises InvalidInput for an address with a parameter that is not known, or with two values where one is meant:
        something would be left out unseen. And for one that is no text, of which another would be read."""
        _refuse_unreadable(request.scope["query_string"])
        refuse_unknown(self.unknown(request))
        refuse_repeated(request.query_params, _lists(self.dependant))


class ControlRoute(StrictRoute):
    """A route that acts on something; its body may not say one thing twice."""

    request_class = _ControlRequest


def _refuse_unreadable(query: bytes) -> None:
    """Raises InvalidInput if what stands behind the question mark of an address is not UTF-8.

    Read with a mark in place of each such byte, names that differ would be one.
    """
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise InvalidInput("query: the parameters of the address are not UTF-8") from None


def refuse_unknown(parameters: Sequence[str]) -> None:
    """Raises InvalidInput that names the first of `parameters`, which nobody has a use for; does nothing without any."""
    if parameters:
        raise InvalidInput(f"query.{parameters[0][:64]}: unknown parameter; /openapi.json says what there is")


def refuse_repeated(parameters: ImmutableMultiDict[str, str], lists: Collection[str] = ()) -> None:
    """Raises InvalidInput that names the first of `parameters` that stands there twice and is none of `lists`."""
    for name, count in Counter(name for name, _ in parameters.multi_items()).items():
        if count > 1 and name not in lists:
            raise InvalidInput(f"query.{name[:64]}: stands there {count} times, and one value is meant")


def _lists(dependant: Dependant) -> frozenset[str]:
    """Names of which a route and what it depends on read every value."""
    own = (field.alias for field in dependant.query_params if _takes_many(field.field_info.annotation))
    return frozenset(own).union(*map(_lists, dependant.dependencies))


def _takes_many(annotation: Any) -> bool:
    """True for a list, a tuple or a set of values, also where it may be left out."""
    kind = get_origin(annotation) or annotation
    many = isinstance(kind, type) and issubclass(kind, Collection) and not issubclass(kind, str | bytes)
    return many or any(map(_takes_many, get_args(annotation)))


def _parameters(dependant: Dependant) -> frozenset[str]:
    """Names that a route and what it depends on read from the address."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*map(_parameters, dependant.dependencies))


def parsed(body: bytes, max_items: int = MAX_ITEMS) -> Any:
    """The value of strict JSON. Raises Refused."""
    if body.count(b",") > max_items:
        raise Refused("invalid_input", f"the body has more than {max_items} items")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused("malformed_json", f"the body is not JSON: {error}") from error
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise Refused("malformed_json", f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def parsed_once(body: bytes, max_items: int = MAX_ITEMS) -> Any:
    """The value of strict JSON that says nothing twice. Raises Refused."""
    value = parsed(body, max_items)
    # orjson takes the last of two equal keys; who signed or allowed the first would be deceived.
    json.loads(body, object_pairs_hook=_without_duplicates)
    return value


def _deeper(value: Any, levels: int) -> bool:
    """True if containers are nested in more than `levels` levels. Without recursion: depth comes from outside."""
    layer = [value]
    for _ in range(levels):
        layer = [item for part in layer for item in _inside(part)]
        if not layer:
            return False
    return any(isinstance(part, dict | list) for part in layer)


def _inside(part: Any) -> Iterable[Any]:
    match part:
        case dict():
            return part.values()
        case list():
            return part
        case _:
            return ()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("duplicate_key", "a key stands twice in one object of the body")
    return found
