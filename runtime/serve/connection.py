"""One HTTP connection of uvicorn, with bounds on headers and waiting, and its place among all connections.

A client that does not read its answer is left. One that was refused before its body had come is read on for a moment,
so that it gets to see the answer.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from latentwire.runtime.serve.heads import HeadError, check_head, check_size
from latentwire.runtime.serve.places import KNOWN, Place, Places
from latentwire.runtime.serve.settings import Bounds

LINGER_SECONDS = 1.0


def guarded(bounds: Bounds, places: Places) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, with these bounds; it is told its place."""

    class Guarded(HttpToolsProtocol):
        def __init__(self, *arguments: Any, place: Place, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._place = place
            self._timer: asyncio.TimerHandle | None = None
            self._stalled: asyncio.TimerHandle | None = None
            self._in_headers = False
            self._in_message = False
            self._arrived = self._counted = 0
            """Bytes of a head: those that came while it was not complete, those of what it was found to hold."""
            self._fault = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self._place not in places:  # it gave way while this was on its way
                transport.abort()
                return
            self._place.close = transport.abort
            self._close_in(bounds.header_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._keep_open()
            self._flows()
            places.free(self._place)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._unset_keepalive_if_required()
            if self._in_headers or not self._in_message:
                self._arrived += len(data)
            try:
                self.parser.feed_data(data)
                if self._in_headers:
                    self._check(self._arrived)
            except httptools.HttpParserUpgrade:
                pass  # whoever asks for another protocol is answered in this one
            except (httptools.HttpParserError, HeadError) as fault:
                self.send_400_response(self._fault or f"expected HTTP, found: {fault}")

        def send_400_response(self, msg: str) -> None:
            """In the form of all other errors, unless it would be taken for the answer to an earlier request."""
            owed = self.cycle is not None and not self.cycle.response_complete
            its_own = not self._in_headers and self._in_message and not (owed and self.cycle.response_started)
            if not self.pipeline and (its_own or not owed):
                body = json.dumps({"error": "RequestError", "message": msg}).encode()
                head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(body)}\r\ncontent-type: application/json\r\n"
                self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
            if owed:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.close()

        def _check(self, size: int) -> None:
            try:
                check_size(size, len(self.headers))
            except HeadError as fault:
                self._fault = str(fault)
                raise

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_headers = self._in_message = True
            self._counted = 0
            if self._timer is None:
                self._close_in(bounds.header_seconds)

        def on_url(self, url: bytes) -> None:
            super().on_url(url)
            self._counted += len(url)
            self._check(self._counted)

        def on_header(self, name: bytes, value: bytes) -> None:
            if not self._in_headers:
                self._fault = "expected no headers behind the body, found some"
                raise HeadError(self._fault)
            super().on_header(name, value)
            self._counted += len(name) + len(value) + len(b": \r\n")
            self._check(self._counted)

        def on_headers_complete(self) -> None:
            version, upgrades = self.parser.get_http_version(), self.parser.should_upgrade()
            try:
                check_head(version, self.url, self.headers, upgrades=upgrades)
            except HeadError as fault:
                self._fault = str(fault)
                raise
            cast("dict[str, Any]", self.scope)[KNOWN] = partial(places.work, self._place)
            super().on_headers_complete()
            self._in_headers, self._arrived = False, 0
            self._keep_open()

        def on_message_complete(self) -> None:
            self._in_message = False
            self._keep_open()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            places.wait(self._place)
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
