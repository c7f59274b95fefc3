"""Server-sent events as providers send them, from bytes cut anywhere."""

from __future__ import annotations

from quarterdeck.core.errors import ModelInvalid

__all__ = ["EventStream"]

_MAX_PENDING = 8 << 20


class EventStream:
    """Collects the data of events. Names, ids, retry times and comments are dropped; any of the three line ends will do.

    Attributes:
        received: Bytes of data so far. Comments do not count: proxies send them on behalf of a model that says nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes.

        Raises:
            ModelInvalid: A line does not end within 8 MiB.
        """
        # Pieces of a long line are kept apart until it ends: joining on each piece would be quadratic.
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        lines = b"".join((*self._pending, chunk)).splitlines(keepends=True)
        self._pending, self._pending_size = [], 0
        # A carriage return at the very end may be the first half of a line end.
        if not lines[-1].endswith(b"\n"):
            self._keep(lines.pop())
        return self._events(lines)

    def close(self) -> list[bytes]:
        """The data of an event the stream ended in: not every provider sends the last blank line."""
        return self._events([*b"".join(self._pending).splitlines(), b""])

    def _keep(self, piece: bytes) -> None:
        self._pending.append(piece)
        if not self._pending[0].startswith(b":"):
            self.received += len(piece)
        self._pending_size += len(piece)
        if self._pending_size > _MAX_PENDING:
            raise ModelInvalid(f"a line of the stream does not end within {_MAX_PENDING} bytes")

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            content = line.rstrip(b"\r\n")
            if not content:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data.clear()
            elif content.startswith(b"data:"):
                self.received += len(content)
                self._data.append(content[6:] if content[5:6] == b" " else content[5:])
        return events
