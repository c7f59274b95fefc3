"""The simple stream of one question: ``text``, ``tool_start``, ``tool_end`` and ``done`` beside the full event kinds."""

from __future__ import annotations

from collections.abc import Iterator

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, ToolReturned
from quarterdeck.service.streams import Rested, Signal
from quarterdeck.service.views import RunView, view_of_state
from quarterdeck.store.base import Entry
from quarterdeck.transports.http.reply import Reply
from quarterdeck.transports.http.shapes import chat_answer
from quarterdeck.transports.http.sse import frame, full_frames
from quarterdeck.transports.http.wire import dump

__all__ = ["SimpleFrames"]


class SimpleFrames:
    """Frames of one run, from its first event on; remembers what it has shown."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._state = RunState()  # folded as events come: each is looked at once, however long the run
        self._reply = Reply()  # its text is what was shown of it

    @property
    def rests(self) -> bool:
        return self._view().rests

    def __call__(self, signal: Signal) -> Iterator[bytes]:
        yield from full_frames(signal)
        match signal:
            case Delta(kind=kind, text=text):
                if self._reply.take(signal) and kind == "text":
                    yield frame("text", dump({"text": text}))
            case Entry(event=event):
                self._state = fold([signal], self._state)
                yield from self._told(event)
            case Rested() if self.rests and not self._view().status.ended:
                yield self._done()

    def _told(self, event: object) -> Iterator[bytes]:
        match event:
            case ModelReply(message=message):
                for call in message.tool_calls:
                    yield frame("tool_start", dump({"id": call.id, "name": call.name, "arguments": call.args}))
                if message.tool_calls:
                    self._reply.text = ""
            case ToolReturned(result=result):
                told = {
                    "id": result.call_id,
                    "name": result.name,
                    "status": result.status,
                    "duration_ms": result.duration_ms,
                }
                yield frame("tool_end", dump(told))
            case FinalAnswer(answer=answer):
                # What nobody streamed: the model cannot, or it was settled without one, or pieces got lost on the way.
                shown = self._reply.text
                if answer.text != shown and answer.text.startswith(shown):
                    yield frame("text", dump({"text": answer.text.removeprefix(shown)}))
                yield self._done()
            case _ if self._state.ended is not None:
                yield self._done()

    def _done(self) -> bytes:
        return frame("done", dump(chat_answer(self._view())))

    def _view(self) -> RunView:
        return view_of_state(self._run_id, self._state)
