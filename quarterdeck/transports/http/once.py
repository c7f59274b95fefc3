"""A request that is repeated under its Idempotency-Key is done once, and answered alike where the answer may be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict
from quarterdeck.core.ids import canonical_json, new_id
from quarterdeck.service.repeats import Kept, Repeats
from quarterdeck.transports.http.errors import STATUS, Refused
from quarterdeck.transports.http.keys import checked

__all__ = ["once", "told_once"]

_HEADERS = ("location", "content-type")  # the rest belongs to the exchange, not to the answer


async def once(request: Request, caller: Principal, key: str | None, do: Callable[[str], Awaitable[Response]]) -> Response:
    """The response of `do`, or the one it gave when it was first asked with this key.

    Args:
        do: Given an id for what it makes. Without a key the id is new each time.

    Raises:
        KeyReused: The key was used for another request.
        InvalidInput: It is no key.
        Refused: The first request with it is still under way; worth repeating.
    """

    async def kept(made: str) -> Kept:
        response = await do(made)
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        about = getattr(request.state, "run_id", "")
        return Kept(status=response.status_code, body=bytes(response.body).decode(), headers=headers, run_id=about)

    repeats = _repeats(request, key)
    if repeats is None or key is None:
        return await do(new_id())
    answer = await _answer(repeats, request, caller, key, kept)
    return Response(answer.body, answer.status, headers=dict(answer.headers))


async def told_once(
    request: Request,
    caller: Principal,
    key: str | None,
    do: Callable[[str], Awaitable[tuple[str, Response]]],
    again: Callable[[str], Conflict],
) -> Response:
    """The response of `do`, which is told once and never kept, as a secret stands in it.

    Args:
        do: Given an id for what it makes, gives the name of what it made and the response.
        again: What a repeat raises, given that name.

    Raises:
        Conflict: It was done before. And all that `once` raises.
    """
    told: list[Response] = []

    async def kept(made: str) -> Kept:
        name, response = await do(made)
        told.append(response)
        return Kept(status=STATUS[Conflict.code], body=name)

    repeats = _repeats(request, key)
    if repeats is None or key is None:
        return (await do(new_id()))[1]
    answer = await _answer(repeats, request, caller, key, kept)
    if not told:
        raise again(answer.body)
    return told[0]


def _repeats(request: Request, key: str | None) -> Repeats | None:
    """Who knows what was done under `key`; None where there is none, or nobody knows. Raises InvalidInput for no key."""
    repeats: Repeats | None = request.app.state.repeats
    return repeats if checked(key) is not None else None


async def _answer(
    repeats: Repeats, request: Request, caller: Principal, key: str, do: Callable[[str], Awaitable[Kept]]
) -> Kept:
    route = canonical_json([request.method, request.scope["route"].path, request.path_params])
    said = hashlib.sha256(await request.body()).hexdigest()
    answer = await repeats.once(caller, route, key, said, do)
    if answer is None:
        refused = Refused("conflict", "the first request with this Idempotency-Key is still under way; send it again")
        refused.headers = {"Retry-After": "1"}
        raise refused
    return answer
