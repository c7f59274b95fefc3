"""The search as a tool an agent may call: a read whose query carries the tenant and groups of the one who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import InvalidArguments
from quarterdeck.core.tools import Effect, Tool, ToolContext
from quarterdeck.knowledge.analyze import MAX_QUERY

__all__ = ["BY_WORDS", "SEARCH_TOOL", "WHOLE", "search_tool"]

SEARCH_TOOL = "search_knowledge_base"
DESCRIPTION = (
    "Search the knowledge base for passages that answer a question. Returns a list of {id, title, content, score}, best "
    "first; an empty list means that nothing relevant is known. The score, 0 to 1, is what speaks for a passage: with a "
    "small one it may only share words with the question. Cite what you use by writing [id] after the sentence."
)
BY_WORDS = "What to look for, in the words of the question."
WHOLE = "What to look for: the whole question as it was asked."


class Searches(Protocol):
    """Searches what a principal may read, as `search.Searcher` does."""

    async def search(self, query: str, ctx: Context, k: int = 6) -> tuple[Sequence[Passage], str]: ...


def search_tool(
    searcher: Searches, *, name: str = SEARCH_TOOL, description: str = DESCRIPTION, query: str = BY_WORDS
) -> Tool:
    """A tool that searches with `searcher` and returns a tuple of passages, which makes them citable.

    Args:
        query: Tells a model what to ask: `WHOLE` where meaning has a say, which a sentence has and its words have not.
    """

    async def run(args: dict[str, Any], ctx: ToolContext) -> tuple[Passage, ...]:
        asked = Context(
            principal=ctx.principal,
            run_id=ctx.run_id,
            deadline=ctx.deadline,
            trace_id=ctx.trace_id,
            tags=ctx.tags,
            request_id=ctx.request_id,
        )
        passages, _ = await searcher.search(args["query"], asked)
        return tuple(passages)

    return Tool(
        name=name,
        description=description,
        input_schema={
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": query,
                    "minLength": 1,
                    "maxLength": MAX_QUERY,
                }
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        bind=_bind,
        run=run,
        effect=Effect.READ,
        risk=0,
        idempotent=True,
    )


def _bind(args: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(args.keys() - {"query"}):
        raise InvalidArguments(f"unknown arguments: {', '.join(unknown)}; the only one is 'query'")
    query = args.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidArguments("'query' must be a text that is not empty")
    if len(query) > MAX_QUERY:
        raise InvalidArguments(f"'query' has {len(query)} characters; at most {MAX_QUERY} are allowed")
    return {"query": query.strip()}
