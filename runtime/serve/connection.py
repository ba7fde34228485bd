"""One HTTP connection of uvicorn, with bounds on connections, headers and waiting.

A client that does not read its answer is left. One that was refused before its body had come is read on for a moment,
so that it gets to see the answer.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from latentwire.runtime.serve.settings import Bounds

HEADER_BYTES = 1 << 16
"""Of one request, its first line included. An envelope's largest fields have 16 KiB each."""
LINGER_SECONDS = 1.0


def guarded(bounds: Bounds) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, with these bounds."""

    class Guarded(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._timer: asyncio.TimerHandle | None = None
            self._stalled: asyncio.TimerHandle | None = None
            self._in_headers = False
            self._in_message = False
            self._head = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > bounds.connections:
                transport.close()
            else:
                self._close_in(bounds.header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._keep_open()
            self._flows()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_headers or not self._in_message:
                self._head += len(data)
            super().data_received(data)
            if self._in_headers and self._head > HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("expected headers of at most 64 KiB, found more")

        def send_400_response(self, msg: str) -> None:
            """In the form of all other errors."""
            body = json.dumps({"error": "RequestError", "message": msg}).encode()
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(body)}\r\ncontent-type: application/json\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
            self.transport.close()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_headers = self._in_message = True
            if self._timer is None:
                self._close_in(bounds.header_seconds)

        def on_headers_complete(self) -> None:
            self._in_headers, self._head = False, 0
            self._keep_open()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_message = False
            self._keep_open()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._in_message:
                self._unset_keepalive_if_required()
                self._close_in(LINGER_SECONDS)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stalled = self.loop.call_later(bounds.body_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._flows()
            super().resume_writing()

        def _flows(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

        def _close_in(self, seconds: float) -> None:
            self._keep_open()
            self._timer = self.loop.call_later(seconds, self.transport.close)

        def _keep_open(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Guarded
