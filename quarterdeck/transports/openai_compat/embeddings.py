"""``/v1/embeddings``: vectors by the embedder of the knowledge index."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.service.embeddings import MAX_TEXTS, Embeddings
from quarterdeck.transports.http.callers import Asker
from quarterdeck.transports.http.wire import Json
from quarterdeck.transports.openai_compat.bodies import EmbeddingList
from quarterdeck.transports.openai_compat.errors import COMPAT_PROBLEMS, CompatRoute, Unserved
from quarterdeck.transports.openai_compat.requests import Name

__all__ = ["router"]

router = APIRouter(route_class=CompatRoute, tags=["openai"], responses=COMPAT_PROBLEMS)


class EmbeddingsBody(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    model: Name = Field(description="Name of the configured embedder.")
    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)] = Field(description="Texts, not tokens.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Only the number the embedder has.")


@router.post("/v1/embeddings", responses={200: {"model": EmbeddingList}})
async def embeddings(request: Request, body: EmbeddingsBody, caller: Asker) -> Response:
    """Texts as vectors: the ones documents are found by."""
    desk: Embeddings | None = request.app.state.embeddings
    if desk is None:
        raise Unserved("model_not_found", "this server has no embedder; see knowledge.embedder", "model")
    if not desk.answers_to(body.model):
        raise Unserved("model_not_found", f"there is no embedder {body.model[:64]!r}; there is: {desk.name}", "model")
    if body.dimensions not in (None, desk.dim):
        raise Unserved("unsupported_parameter", f"dimensions: the vectors have {desk.dim} numbers", "dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    found = await desk.embed(caller, texts)
    shown = _base64 if body.encoding_format == "base64" else list
    rows = [{"object": "embedding", "index": at, "embedding": shown(vector)} for at, vector in enumerate(found.vectors)]
    tokens = found.usage.prompt_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Json({"object": "list", "data": rows, "model": desk.name, "usage": usage})


def _base64(vector: array[Any]) -> str:
    """The 32-bit floats, little end first."""
    if sys.byteorder == "big":
        vector = array(vector.typecode, vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
