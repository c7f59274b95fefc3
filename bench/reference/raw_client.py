"""The calls an engineer writes by hand: aiohttp, a payload, the text of the reply. No retry, no price, no bounds."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

HEADERS = {"Authorization": "Bearer none"}


async def call(session: aiohttp.ClientSession, url: str, messages: list[dict[str, Any]]) -> str:
    """One whole reply."""
    request = {"model": "bench", "messages": messages, "temperature": 0.0}
    async with session.post(f"{url}/chat/completions", json=request, headers=HEADERS) as response:
        response.raise_for_status()
        return str((await response.json())["choices"][0]["message"]["content"])


async def stream(session: aiohttp.ClientSession, url: str, messages: list[dict[str, Any]]) -> str:
    """One reply in pieces: each line decoded as it arrives."""
    request = {"model": "bench", "messages": messages, "temperature": 0.0, "stream": True,
               "stream_options": {"include_usage": True}}  # fmt: skip
    text = ""
    async with session.post(f"{url}/chat/completions", json=request, headers=HEADERS) as response:
        response.raise_for_status()
        async for line in response.content:
            data = line.removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                continue
            for choice in json.loads(data)["choices"]:
                text += choice["delta"].get("content") or ""
    return text
