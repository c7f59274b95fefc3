"""The text of a run as a stream that nothing can be taken back from: its pieces begin with what stays."""

from __future__ import annotations

from collections.abc import Iterator

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.events import Delta, FinalAnswer
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.streams import Rested, Signal
from quarterdeck.service.views import RunView, view_of_state
from quarterdeck.store.base import Entry
from quarterdeck.transports.openai_compat.beginning import Beginning
from quarterdeck.transports.reply import Reply

__all__ = ["Words", "text_of"]

_PARAGRAPH = "\n\n"


def text_of(run: RunView) -> str:
    """What a run that rests says: its answer, or its last words and what it waits for."""
    said = run.answer.text if run.answer is not None else run.said
    return _PARAGRAPH.join(filter(None, (said, _notice(run))))


def _notice(run: RunView) -> str:
    if run.status is RunStatus.DONE:
        return ""
    if run.drafts:
        drafts = ", ".join(run.drafts)
        return f"This is not done yet: it waits for the approval of a person. Drafts: {drafts}. Run: {run.run_id}."
    if run.doubts:
        return f"A write was started and nobody knows whether it happened; a person has to say. Run: {run.run_id}."
    return f"The run is {run.status.value}. Run: {run.run_id}."


class Words:
    """Gives the pieces of a run's text as it is made; they add up to `text`, which ends with what the run says.

    Marks of citations become numbers on the way, as they do in the answer. What the model said before its last reply stays
    in front of it, and an answer that was changed after it was made follows as a paragraph of its own.

    Args:
        live: Show pieces before the answer is settled. False where the answer is a value: half of it is nothing.

    Attributes:
        text: All pieces so far.
        over: No piece will come; the run ended, or waits for somebody.
    """

    def __init__(self, run_id: str, *, live: bool) -> None:
        self.text = ""
        self.over = False
        self._run_id = run_id
        self._live = live
        self._state = RunState()  # folded as events come: each is looked at once, however long the run
        self._reply = Reply()
        self._turn = 0
        self._shown = ""  # of the newest reply
        self._beginning = Beginning()

    @property
    def view(self) -> RunView:
        return view_of_state(self._run_id, self._state)

    def __call__(self, signal: Signal) -> Iterator[str]:
        match signal:
            case Delta(kind=kind):
                if self._live and self._reply.take(signal) and kind == "text":
                    self._follow_reply()
                    yield from self._show(self._beginning.of(self._reply.text, self._state.passages))
            case Entry(event=event):
                self._state = fold([signal], self._state)
                if isinstance(event, FinalAnswer):
                    yield from self._last(event.answer.text)
                elif self._state.ended is not None:
                    yield from self._rest()
            case Rested() if not self.over and self.view.rests:
                yield from self._rest()

    def _rest(self) -> Iterator[str]:
        if self.view.failure is None:
            yield from self._last(text_of(self.view))
        self.over = True

    def _last(self, text: str) -> Iterator[str]:
        self._follow_reply()
        if not text.startswith(self._shown):
            self._shown = ""
        yield from self._show(text)
        self.over = True

    def _follow_reply(self) -> None:
        if self._reply.turn != self._turn:
            self._turn, self._shown, self._beginning = self._reply.turn, "", Beginning()

    def _show(self, text: str) -> Iterator[str]:
        """Show what is new of the reply's text."""
        if text.startswith(self._shown) and text != self._shown:
            if self.text and not self._shown:
                yield from self._piece(_PARAGRAPH)
            new = text.removeprefix(self._shown)
            self._shown = text
            yield from self._piece(new)

    def _piece(self, text: str) -> Iterator[str]:
        self.text += text
        yield text
