"""The simple stream of one question: ``text``, ``tool_start``, ``tool_end`` and ``done`` beside the full event kinds."""

from __future__ import annotations

from collections.abc import Iterator

from quarterdeck.core.messages import ToolCall, ToolResult
from quarterdeck.service.streams import Signal
from quarterdeck.transports.http.shapes import chat_answer
from quarterdeck.transports.http.sse import frame, full_frames
from quarterdeck.transports.http.wire import dump
from quarterdeck.transports.telling import Done, Piece, Telling, ToldOf

__all__ = ["SimpleFrames"]


class SimpleFrames:
    """Frames of one run, from its first event on."""

    def __init__(self, run_id: str) -> None:
        self._telling = Telling(run_id)

    @property
    def rests(self) -> bool:
        return self._telling.run.rests

    def __call__(self, signal: Signal) -> Iterator[bytes]:
        yield from full_frames(signal)
        yield from map(_frame, self._telling(signal))


def _frame(told: ToldOf) -> bytes:
    match told:
        case Piece(text):
            return frame("text", dump({"text": text}))
        case ToolCall(id=id, name=name, args=args):
            return frame("tool_start", dump({"id": id, "name": name, "arguments": args}))
        case ToolResult():
            ended = {"id": told.call_id, "name": told.name, "status": told.status, "duration_ms": told.duration_ms}
            return frame("tool_end", dump(ended))
        case Done(run):
            return frame("done", dump(chat_answer(run)))
