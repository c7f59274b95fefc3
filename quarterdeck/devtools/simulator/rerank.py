"""``POST /v1/rerank``, in the shape Cohere and Jina share."""

from __future__ import annotations

from quarterdeck.devtools.simulator.checks import check_number, missing, typed
from quarterdeck.devtools.simulator.exchange import Answer, Incoming, whole
from quarterdeck.devtools.simulator.hashing import embed, similarity
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.models.tokens import count_tokens

__all__ = ["rerank"]

_DIMENSIONS = 512


def rerank(incoming: Incoming) -> Answer:
    """The documents by how many words they share with the query, best first."""
    body = incoming.object("openai")
    for name in ("model", "query", "documents"):
        if name not in body:
            raise missing(name)
    query = typed(body["query"], str, "query")
    documents = []
    for index, item in enumerate(typed(body["documents"], list, "documents")):
        text = item.get("text") if isinstance(item, dict) else item
        documents.append(str(typed(text, str, f"documents[{index}]")))
    if not documents:
        raise Refusal(400, "Invalid 'documents': expected at least one document.", param="documents", code="empty_array")
    check_number(body, "top_n", 1, 1e6, kind=int)
    asked = embed(query, _DIMENSIONS)
    scores = [max(0.0, round(similarity(asked, embed(text, _DIMENSIONS)), 6)) for text in documents]
    order = sorted(range(len(documents)), key=lambda index: (-scores[index], index))[: body.get("top_n") or len(documents)]
    results = [
        {"index": index, "relevance_score": scores[index]}
        | ({"document": {"text": documents[index]}} if body.get("return_documents") else {})
        for index in order
    ]
    tokens = count_tokens(query) * len(documents) + sum(map(count_tokens, documents))
    return whole(
        {
            "id": incoming.dice.id("rerank-"),
            "object": "list",
            "model": typed(body["model"], str, "model"),
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
