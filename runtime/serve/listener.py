"""Connections are bounded from the moment they are accepted: a TLS handshake counts, and may not take long.

asyncio's own server makes a connection of everything that it accepts, gives a handshake a minute, and writes a trace
for each that it has no descriptor for. This one has a bound (see `places`), and says in one line a second what went
wrong. Nothing is made for a connection before its first byte is there: one that says nothing costs a descriptor and a
timer, so that thousands of them are taken, and left, as fast as they come.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from socket import MSG_PEEK, SHUT_RDWR
from socket import socket as Socket

from prometheus_client import Counter

from latentwire.runtime.serve.logs import Tally
from latentwire.runtime.serve.places import Place, Places, site_of

AT_ONCE = 64
"""Connections that are accepted before those that are there have their turn."""
PAUSE_SECONDS = 0.25
"""For which nothing is accepted when the system has no descriptor, or no memory, for one more connection."""
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Accepts connections; for uvicorn it is one of asyncio's servers.

    Args:
        sockets: that listen.
        protocol: makes the protocol of the connection that has a place.
        places: for connections.
        context: of TLS, None for none.
        silent_seconds: after which one that says nothing is left.
        handshake_seconds: for which a handshake may last, and its counterpart at the end.
        counter: of connections that came to nothing, by reason.
    """

    def __init__(
        self,
        sockets: Sequence[Socket],
        protocol: Callable[[Place], asyncio.BaseProtocol],
        places: Places,
        context: ssl.SSLContext | None,
        silent_seconds: float,
        handshake_seconds: float,
        counter: Counter,
    ) -> None:
        self.sockets = tuple(sockets)
        self._protocol = protocol
        self._places = places
        self._tls: dict[str, float] = {}
        if context is not None:
            self._tls["ssl_handshake_timeout"] = handshake_seconds
            if sys.version_info >= (3, 11):
                self._tls["ssl_shutdown_timeout"] = handshake_seconds
        self._context = context
        self._silent_seconds = silent_seconds
        self._loop = asyncio.get_running_loop()
        self._counter = counter
        self._tally = Tally("connections", self._loop)
        self._silent: set[Place] = set()
        """Of connections that have not said anything yet."""
        self._greetings: dict[asyncio.Task[None], Socket] = {}
        self._closed = False

    def start(self) -> None:
        """Accept from now on."""
        for socket in self.sockets:
            self._loop.add_reader(socket, self._accept, socket)

    def close(self) -> None:
        """Accept no more, and end what has not got beyond its handshake."""
        if self._closed:
            return
        self._closed = True
        for socket in self.sockets:
            self._loop.remove_reader(socket)
            socket.close()
        for place in tuple(self._silent):
            self._places.free(place)
            place.close()
        for connection in self._greetings.values():
            _cut(connection)
        self._tally.say()

    async def wait_closed(self) -> None:
        """Until no handshake is left."""
        if self._greetings:
            await asyncio.wait(self._greetings)

    def _accept(self, socket: Socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as fault:
                if fault.errno not in SHORT:
                    raise
                self._pause(socket)
                return
            self._admit(connection, site_of(str(address[0])))

    def _admit(self, connection: Socket, site: str) -> None:
        place, gone = self._places.take(site)
        if gone is not None:
            self._count("gave_way")
        if place is None:
            self._count("turned_away")
            connection.close()
            return
        connection.setblocking(False)
        silence = self._loop.call_later(self._silent_seconds, self._left, place)
        place.close = partial(self._drop, connection, place, silence)
        self._silent.add(place)
        self._loop.add_reader(connection, self._heard, connection, place, silence)

    def _drop(self, connection: Socket, place: Place, silence: asyncio.TimerHandle) -> None:
        self._wait_no_more(connection, place, silence)
        connection.close()

    def _wait_no_more(self, connection: Socket, place: Place, silence: asyncio.TimerHandle) -> None:
        silence.cancel()
        self._silent.discard(place)
        self._loop.remove_reader(connection)

    def _left(self, place: Place) -> None:
        self._count("silent")
        self._places.free(place)
        place.close()

    def _heard(self, connection: Socket, place: Place, silence: asyncio.TimerHandle) -> None:
        """There is a first byte, or the end."""
        try:
            has_left = not connection.recv(1, MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            has_left = True
        if has_left:
            self._places.free(place)
            place.close()
            return
        self._wait_no_more(connection, place, silence)
        greeting = self._loop.create_task(self._greet(connection, place))
        self._greetings[greeting] = connection
        place.close = partial(_cut, connection)  # the protocol has a better way, once it is there
        greeting.add_done_callback(partial(self._greeted, place))

    async def _greet(self, connection: Socket, place: Place) -> None:
        protocol = partial(self._protocol, place)
        await self._loop.connect_accepted_socket(protocol, connection, ssl=self._context, **self._tls)

    def _greeted(self, place: Place, greeting: asyncio.Task[None]) -> None:
        """A connection that got no further than this gives its place back; the protocol does so for the others."""
        del self._greetings[greeting]
        if greeting.cancelled() or (fault := greeting.exception()) is None:
            return
        if place in self._places:  # whoever gave way is counted already
            slow = isinstance(fault, ConnectionAbortedError)  # what asyncio makes of a handshake that takes too long
            self._count("handshakes_slow" if slow else "handshakes_failed")
            self._places.free(place)

    def _count(self, reason: str) -> None:
        self._counter.labels(reason).inc()
        self._tally.count(reason)

    def _pause(self, socket: Socket) -> None:
        self._count("no_descriptor")
        self._loop.remove_reader(socket)
        self._loop.call_later(PAUSE_SECONDS, self._resume, socket)

    def _resume(self, socket: Socket) -> None:
        if not self._closed:
            self._loop.add_reader(socket, self._accept, socket)


def _cut(connection: Socket) -> None:
    """End a connection whose transport may not be there yet: it finds the end where it would have read."""
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)
