"""Stand-ins for tests of agents: a model that plays a script, and a clock that moves when told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType

from quarterdeck.core.context import Context
from quarterdeck.core.events import Delta
from quarterdeck.models.base import Completion, Emit, ModelRequest

__all__ = ["FakeClock", "FakeModel", "Step"]

Step = Completion | Exception | Callable[[ModelRequest], Completion]
"""One reply of a script: given as it is, raised, or made from the request."""


class FakeModel:
    """A `Model` that answers its nth request with the nth step of a script.

    A request beyond the script raises AssertionError. Used as a context manager, it also raises one on leaving when steps
    are left over, unless the block failed anyway.

    Attributes:
        requests: Every request so far, for assertions on what the model was shown.
    """

    def __init__(self, *script: Step, name: str = "fake:script") -> None:
        self._name = name
        self._script = script
        self.requests: list[ModelRequest] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def left(self) -> int:
        """Steps nobody has asked for yet."""
        return max(len(self._script) - len(self.requests), 0)

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        """Play the next step; its text is emitted whole. Raises what the step says, AssertionError beyond the end."""
        ctx.remaining_s()
        self.requests.append(request)
        number = len(self.requests)
        if number > len(self._script):
            last = request.messages[-1].text[:200] if request.messages else ""
            raise AssertionError(
                f"request {number} to {self._name}, whose script has {len(self._script)} steps; it ends: {last!r}"
            )
        step = self._script[number - 1]
        if isinstance(step, Exception):
            raise step
        reply = step if isinstance(step, Completion) else step(request)
        if emit is not None:
            await _emit(emit, reply)
        return reply

    def check(self) -> None:
        """Raises AssertionError if steps are left over."""
        if self.left:
            raise AssertionError(
                f"{self._name} was asked {len(self.requests)} times; {self.left} steps of its script are left over"
            )

    def __enter__(self) -> FakeModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.check()


async def _emit(emit: Emit, reply: Completion) -> None:
    n = 0
    if reply.text:
        await emit(Delta(kind="text", text=reply.text, n=n))
        n += 1
    for call in reply.tool_calls:
        await emit(Delta(kind="tool_start", text=call.name, n=n, call_id=call.id))
        n += 1


class FakeClock:
    """A clock that stands until it is moved. Call it, or pass `monotonic`, where seconds are wanted; `now` for instants.

    Both hands move together. `sleep` moves the clock instead of waiting and is remembered in `slept`.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), *, monotonic_s: float = 1_000.0) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware instant; give it a time zone")
        self._start = start
        self._start_s = monotonic_s
        self._passed_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return self._start_s + self._passed_s

    def now(self) -> datetime:
        """Aware UTC instant."""
        return self._start + timedelta(seconds=self._passed_s)

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative span: monotonic clocks do not go back."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds} s")
        self._passed_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.slept.append(seconds)
        self.advance(max(seconds, 0.0))
