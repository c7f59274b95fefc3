"""uvicorn's WebSocket connection, within bounds that it leaves open."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from quarterdeck.transports.websocket.errors import CLOSE

__all__ = ["BoundedSocket"]

MAX_FRAGMENTS = 64  # of one message; by far more only cost work
_LINGER_S = 5.0  # for a peer that is being closed to read why, and to stop sending

# uvicorn writes each address with its arguments, and so a token; `Envelope` has a line of its own for each connection.
_QUIET = logging.getLogger(f"{__name__}.uvicorn")
_QUIET.setLevel(logging.WARNING)


class BoundedSocket(WebSocketsSansIOProtocol):
    """One connection: a message of bounded pieces, a reader that must read, a peer that must live.

    uvicorn bounds a message's bytes, sends pings and closes when no pong comes.
    """

    stall_s = 30.0
    _stalled: asyncio.TimerHandle | None = None  # runs while the client takes nothing of what is written
    _failed = False
    _pieces = 0  # of the message being received

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.logger = _QUIET

    def data_received(self, data: bytes) -> None:
        if self._failed:
            return
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            # No GET, or headers beyond bounds: the whole head has come, so nothing further would mend it.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # uvicorn would log a refusal as no answer at all

    def handle_text(self, event: Frame) -> None:
        self._pieces = 1
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._pieces = 1
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        self._pieces += 1
        if self._pieces > MAX_FRAGMENTS:
            self._fail("fragmented", f"a message in more than {MAX_FRAGMENTS} pieces")
        elif not self._failed:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self._fail("malformed_json", "the text is not UTF-8")
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # who reads nothing needs no pong, and shall not have them pile up

    def keepalive_timeout(self) -> None:
        if self.read_paused:
            # The pong may lie unread behind a message that is being worked on.
            self.pong_timer = None
            self.schedule_ping()
        else:
            self._fail("dead_peer", "no pong came")

    def handle_parser_exception(self) -> None:
        """Tell why, and drop what still comes: closing at once would reset the connection before the peer has read it."""
        if self._failed or not self.handshake_initiated:
            return
        said = self.conn.close_sent
        if said is not None:  # None when the peer went away in the middle of a frame
            self.queue.put_nowait({"type": "websocket.disconnect", "code": said.code, "reason": said.reason})
        self.stop_keepalive()
        self._failed = self.close_sent = self.disconnected = True
        self.frames = []
        self.writable.set()  # whoever waits to send is told that nobody is there
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_timer = self.loop.call_later(_LINGER_S, self.transport.abort)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.stall_s, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._moved()

    def shutdown(self) -> None:
        super().shutdown()
        if not self.writable.is_set():
            self.transport.abort()  # closing would wait for a reader that takes nothing

    def connection_lost(self, exc: Exception | None) -> None:
        self._moved()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        """The client has taken nothing for long: what it is told now it finds behind the rest, if it ever reads on."""
        self._fail("too_slow", "nothing was read for too long")

    def _fail(self, code: str, reason: str) -> None:
        if not self._failed and not self.close_sent:
            self.conn.fail(CLOSE[code], reason)
            self.handle_parser_exception()

    def _moved(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
