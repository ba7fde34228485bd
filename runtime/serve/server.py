"""The service as a process: uvicorn, signals, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from socket import socket as Socket

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from latentwire.runtime.serve.connection import guarded
from latentwire.runtime.serve.http import create_app
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.service import Service
from latentwire.runtime.serve.settings import Settings

KEEP_ALIVE_SECONDS = 30
BACKLOG = 512


class Server(uvicorn.Server):
    """uvicorn, told to end by SIGTERM or SIGINT, which first drain the service; a second one ends at once."""

    service: Service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would stop listening at once, and end as if the signal had killed it."""
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

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        scheme = "https" if self.config.is_ssl else "http"
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                event("listening", url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")


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
        server = Server(uvicorn_config(app, settings))
        server.service = service
        asyncio.run(server.serve())
    finally:
        service.close()
    event("ended")


def uvicorn_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    """Uvicorn's settings, with the guarded connection."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded(settings.bounds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.bounds.drain_seconds,
        ssl_certfile=settings.certificate,
        ssl_keyfile=None if settings.key is None else str(settings.key),
    )
