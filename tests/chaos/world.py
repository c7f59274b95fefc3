"""The outside world: a process of its own that is never killed and logs every arrival before anything else.

Run as ``python -m tests.chaos.world LEDGER DELAY_S``; it prints its port. One JSON object per line comes in ({op, run, call,
key}), one goes back. `keyed` effects are applied once per key, as a target that deduplicates would; others at every arrival.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, TextIO


class World:
    """Arrivals and effects, in a file that is flushed before the caller hears anything."""

    def __init__(self, ledger: TextIO, delay_s: float) -> None:
        self._ledger = ledger
        self._delay_s = delay_s
        self._applied: set[str] = set()
        self._chance = random.Random(7)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                reply = await self._handle(json.loads(line))
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the caller died: what it asked for is in the ledger
        finally:
            writer.close()

    async def _handle(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._log({**asked, "what": "arrived"})
        await asyncio.sleep(self._chance.random() * self._delay_s)
        fresh = asked["op"] != "keyed" or asked["key"] not in self._applied
        if fresh and asked["op"] != "read":
            self._applied.add(asked["key"])
            self._log({**asked, "what": "applied"})
        await asyncio.sleep(self._chance.random() * self._delay_s)
        return {"applied": fresh}

    def _log(self, line: dict[str, Any]) -> None:
        self._ledger.write(json.dumps({**line, "at": time.time()}) + "\n")
        self._ledger.flush()


async def main(path: Path, delay_s: float) -> None:
    with path.open("a") as ledger:
        world = World(ledger, delay_s)
        server = await asyncio.start_server(world.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        parent = os.getppid()
        while os.getppid() == parent:  # ends with whoever started it
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
