"""What somebody who asked one question is told while it is answered, whatever wire carries it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.events import Delta, FinalAnswer, ModelReply, ToolReturned
from quarterdeck.core.messages import ToolCall, ToolResult
from quarterdeck.service.streams import Rested, Signal
from quarterdeck.service.views import RunView, view_of_state
from quarterdeck.store.base import Entry
from quarterdeck.transports.reply import Reply

__all__ = ["Done", "Piece", "Telling", "ToldOf"]


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The run ended, or waits for a person."""

    run: RunView


ToldOf = Piece | ToolCall | ToolResult | Done


class Telling:
    """The pieces, calls and end of one run, from its first event on; remembers what was told."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._state = RunState()  # folded as events come: each is looked at once, however long the run
        self._reply = Reply()  # its text is what was told of it

    @property
    def run(self) -> RunView:
        """As far as it was told."""
        return view_of_state(self._run_id, self._state)

    def __call__(self, signal: Signal) -> Iterator[ToldOf]:
        match signal:
            case Delta(kind=kind, text=text):
                if self._reply.take(signal) and kind == "text":
                    yield Piece(text)
            case Entry(event=event):
                self._state = fold([signal], self._state)
                yield from self._of(event)
            case Rested() if self.run.rests and not self.run.status.ended:
                yield Done(self.run)

    def _of(self, event: object) -> Iterator[ToldOf]:
        match event:
            case ModelReply(message=message):
                yield from message.tool_calls
                if message.tool_calls:
                    self._reply.text = ""
            case ToolReturned(result=result):
                yield result
            case FinalAnswer(answer=answer):
                # What nobody streamed: the model cannot, or it was settled without one, or pieces got lost on the way.
                shown = self._reply.text
                if answer.text != shown and answer.text.startswith(shown):
                    yield Piece(answer.text.removeprefix(shown))
                yield Done(self.run)
            case _ if self._state.ended is not None:
                yield Done(self.run)
