"""The loop an engineer writes in an afternoon: aiohttp, a list of messages, a dict of functions. Nothing else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp


async def run(
    session: aiohttp.ClientSession,
    url: str,
    question: str,
    *,
    instructions: str,
    tools: list[dict[str, Any]],
    functions: Mapping[str, Callable[..., Awaitable[str]]],
) -> str:
    """Ask, call what the model asks for, until it answers."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}, {"role": "user", "content": question}]
    while True:
        request = {"model": "bench", "messages": messages, "tools": tools, "temperature": 0.0}
        headers = {"Authorization": "Bearer none"}
        async with session.post(f"{url}/chat/completions", json=request, headers=headers) as response:
            response.raise_for_status()
            message = (await response.json())["choices"][0]["message"]
        messages.append(message)
        if not message.get("tool_calls"):
            return str(message["content"])
        for call in message["tool_calls"]:
            output = await functions[call["function"]["name"]](**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
