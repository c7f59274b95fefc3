"""What a test serves itself, beside the server it looks at."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

S = TypeVar("S", bound=socketserver.BaseServer)


@contextlib.contextmanager
def beside(server: S) -> Iterator[S]:
    """Let it serve while the block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


class Provider(ThreadingHTTPServer):
    """Speaks as OpenAI's chat completions do, and says what `say` makes of the request.

    Attributes:
        asked: The requests, as they came.
    """

    daemon_threads = True

    def __init__(self, say: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """`say` returns a message: its content, or its tool calls."""
        super().__init__(("127.0.0.1", 0), _Completions)
        self.say = say
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Completions(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        message = self.server.say(asked)
        finish = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        body = json.dumps({"id": "x", "object": "chat.completion", "model": "scripted", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *told: Any) -> None:
        """Say nothing."""


def call(name: str, **args: object) -> dict[str, Any]:
    """The message in which a model calls a tool."""
    function = {"name": name, "arguments": json.dumps(args)}
    return {"content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}
