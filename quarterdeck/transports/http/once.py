"""A request that is repeated under its Idempotency-Key is done once and answered alike."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from quarterdeck.core.context import Principal
from quarterdeck.core.ids import canonical_json, new_id
from quarterdeck.service.repeats import Kept, Repeats
from quarterdeck.transports.http.errors import Refused
from quarterdeck.transports.http.keys import checked

__all__ = ["once"]

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
    repeats: Repeats | None = request.app.state.repeats
    if checked(key) is None or key is None or repeats is None:
        return await do(new_id())
    route = canonical_json([request.method, request.scope["route"].path, request.path_params])
    said = hashlib.sha256(await request.body()).hexdigest()

    async def kept(made: str) -> Kept:
        response = await do(made)
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        return Kept(status=response.status_code, body=bytes(response.body).decode(), headers=headers)

    answer = await repeats.once(caller, route, key, said, kept)
    if answer is None:
        refused = Refused("conflict", "the first request with this Idempotency-Key is still under way; send it again")
        refused.headers = {"Retry-After": "1"}
        raise refused
    return Response(answer.body, answer.status, headers=dict(answer.headers))
