"""The service as a process: uvicorn, its listeners, signals, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve.connection import guarded
from latentwire.runtime.serve.http import create_app
from latentwire.runtime.serve.listener import Listener
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.places import Places
from latentwire.runtime.serve.service import Service
from latentwire.runtime.serve.settings import Settings

if TYPE_CHECKING:
    from asyncio.base_events import Server as AsyncioServer

KEEP_ALIVE_SECONDS = 30
BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""
STARTUP_FAILURE = 3
"""Uvicorn's exit code where an application does not start."""
DESCRIPTORS = 256
"""For all but connections: inbox, sink, models, a broker."""


class Server(uvicorn.Server):
    """uvicorn with listeners of our own.

    SIGTERM and SIGINT end it, and first drain the service; a second one ends it at once.

    Args:
        app: the service as an application.
        settings: the whole service.

    Raises:
        SettingError: the certificate or its key cannot be used.
    """

    def __init__(self, app: Starlette, settings: Settings) -> None:
        self.places = Places(settings.bounds.connections)
        config = uvicorn_config(app, settings, self.places)
        try:
            config.load()
        except OSError as fault:  # as those of TLS are
            raise SettingError(
                f"expected a certificate in {settings.certificate} and its key in {settings.key}, both PEM, "
                f"found: {fault}"
            ) from fault
        super().__init__(config)
        self._bounds = settings.bounds
        self.service: Service = app.state.service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would stop listening at once, and end as if the signal had killed it."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the business of whoever has that one
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end)
        yield
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def _asked_to_end(self) -> None:
        if self._ending is not None:
            self.should_exit = self.force_exit = True
            return
        self._ending = asyncio.ensure_future(self._end())

    _ending: asyncio.Future[None] | None = None

    async def _end(self) -> None:
        await asyncio.to_thread(self.service.drain)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where.

        Raises:
            SettingError: nobody can listen there.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        try:
            listening = sockets or _listening(self.config.host, self.config.port)
        except SettingError:
            await self.lifespan.shutdown()
            raise
        bounds = self._bounds
        protocol: Any = self.config.http_protocol_class
        facts = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
        listener = Listener(
            listening,
            lambda place: cast("asyncio.Protocol", protocol(place=place, **facts)),
            self.places,
            self.config.ssl,
            bounds.handshake_seconds if self.config.is_ssl else bounds.header_seconds,
            bounds.handshake_seconds,
            self.service.metrics.connections,
        )
        listener.start()
        self.servers = [cast("AsyncioServer", listener)]
        self.started = True
        scheme = "https" if self.config.is_ssl else "http"
        for found in listening:
            host, port = found.getsockname()[:2]
            event("listening", url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")


def _listening(host: str, port: int) -> list[socket.socket]:
    """Sockets for every address of a name that this machine has; where the port is 0, all have the same free one.

    Raises:
        SettingError: there is none, or the port is taken.
    """
    found: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                found.append(_listening_at(family, str(address[0]), port))
                port = found[-1].getsockname()[1]
            except OSError as fault:
                if fault.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = fault
        if missing is not None and not found:
            raise missing
    except OSError as fault:
        for one in found:
            one.close()
        raise SettingError(f"expected an address to listen at, found {host}, port {port}: {fault}") from fault
    return found


def _listening_at(family: int, host: str, port: int) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((host, port))
        found.listen(BACKLOG)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def run(settings: Settings, routes: Sequence[BaseRoute] = ()) -> None:
    """Serve until told to end.

    Args:
        settings: the whole service.
        routes: more of them, see `create_app`.

    Raises:
        LatentwireError: settings that cannot be used; the subclass says which.
    """
    app = create_app(settings, routes)
    service: Service = app.state.service
    service.start()  # what is wrong with the inbox is said here, not by uvicorn
    try:
        server = Server(app, settings)
        have_descriptors(settings.bounds.connections + DESCRIPTORS)
        asyncio.run(server.serve())
    finally:
        service.close()
    event("ended")


def have_descriptors(wanted: int) -> None:
    """Have the system allow so many open files, if it lets us; say so otherwise."""
    try:
        import resource  # not on Windows, which has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        event("descriptors", logging.WARNING, wanted=wanted, found=possible)


def uvicorn_config(app: Starlette, settings: Settings, places: Places) -> uvicorn.Config:
    """Uvicorn's settings, with the guarded connection."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded(settings.bounds, places),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.bounds.drain_seconds,
        ssl_certfile=settings.certificate,
        ssl_keyfile=None if settings.key is None else str(settings.key),
    )
