"""HTTP: the routes of the service as a Starlette application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from latentwire.runtime.errors import EnvelopeError, LatentwireError, RemoteError, ResourceError, SettingError
from latentwire.runtime.serve.answers import Decoded, plain_problem, problem, statement
from latentwire.runtime.serve.body import read_body
from latentwire.runtime.serve.codecs import Codec
from latentwire.runtime.serve.errors import AcceptError, BodySizeError, FullError, MediaTypeError, TokenError
from latentwire.runtime.serve.hosts import OwnHosts
from latentwire.runtime.serve.inbox import RETRY_SECONDS
from latentwire.runtime.serve.intake import Budget, Refusal, name_of
from latentwire.runtime.serve.openapi import document
from latentwire.runtime.serve.places import KNOWN
from latentwire.runtime.serve.service import Service
from latentwire.runtime.serve.settings import Settings
from latentwire.runtime.serve.tokens import check_device
from latentwire.runtime.serve.trouble import is_local
from latentwire.runtime.wire import HEADER, MAGIC, Envelope

BYTES = "application/octet-stream"
MEDIA_TYPES = {"png": "image/png", "npy": "application/x-npy"}
FORM_OF = {media: form for form, media in MEDIA_TYPES.items()}
"""What can be asked for instead of storing, by media type."""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
LARGE = 1 << 16
"""Bytes of a body that is checked outside the event loop."""


def create_app(settings: Settings, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The service as an ASGI application; it begins and ends with the application's lifespan.

    Args:
        settings: the whole service; host, port, certificate and key are the business of whoever runs the application.
        routes: more of them, such as a page's; the service's own come first.

    Raises:
        LatentwireError: settings that cannot be used; the subclass says which.
    """
    service = Service(settings)
    if settings.mqtt is not None:
        from latentwire.runtime.serve.mqtt import listener_at  # a broker is the exception

        service.attach(listener_at(settings.mqtt, service))
    endpoints = Endpoints(service)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.close)
        endpoints.close()

    app = Starlette(
        routes=[*endpoints.routes(), *routes],
        exception_handlers={
            LatentwireError: endpoints.refuse,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            MemoryError: _short,
            RuntimeError: _short,
            Exception: _unexpected,
        },
        middleware=_own_hosts(settings, endpoints),
        lifespan=lifespan,
    )
    app.state.service = service
    return app


def _own_hosts(settings: Settings, endpoints: Endpoints) -> list[Middleware]:
    if not settings.checks_hosts:
        return []
    return [
        Middleware(OwnHosts, names=settings.allowed_hosts, pages=settings.open_to_all, refuse=endpoints.refuse),
    ]


class Endpoints:
    """What each path answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._document = document(service.settings)
        threads = service.settings.threads
        self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="answer")
        self._work = Budget(service.settings.bounds.work_bytes)
        self._free = 4 * threads
        """Requests that may still ask for their packet's items; few wait for a decoder."""

    def close(self) -> None:
        """End the threads."""
        self._decoders.shutdown()

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("/v1/packets", self.packets, methods=["POST"]),
            Route("/v1/codecs", self.codecs, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]

    async def packets(self, request: Request) -> Response:
        """Take packets, or decode one at once."""
        service = self._service
        service.check_accepting()
        device = None if service.tokens is None else service.tokens.device_of(request.headers.get("authorization"))
        _known(request)
        envelope = _envelope(request)
        name = envelope.id if isinstance(envelope, Envelope) else None
        if device is not None and not isinstance(envelope, EnvelopeError):
            check_device(device, envelope)
        bounds = service.settings.bounds
        try:
            _check_media(request)
            async with read_body(request, bounds.body_bytes, bounds.body_seconds, service.memory) as body:
                if isinstance(envelope, EnvelopeError):
                    return await self._refused(body, envelope, None, name_of(body, None))
                return await self._taken(body, envelope, _asked_form(request))
        except (MediaTypeError, BodySizeError) as fault:  # nobody has read the body
            service.intake.count(fault, envelope if isinstance(envelope, Envelope) else None)
            return problem(fault, name)

    async def _taken(self, body: bytes, envelope: Envelope | None, form: str | None) -> Response:
        """What a body is answered: where a form was asked for, the items themselves."""
        arrived = monotonic()
        if form is not None:
            return await self._answered(body, envelope, form)
        check = self._service.intake.check
        # Only what is short and single is checked between other requests: a stream can be a thousand things.
        small = len(body) < LARGE and body.startswith(MAGIC)
        try:
            batch = check(body, envelope) if small else await asyncio.to_thread(check, body, envelope)
        except RemoteError as fault:
            return await self._refused(body, fault, envelope, None)
        if not batch.is_stream and isinstance(batch.packets[0], Refusal):
            return await self._refused(body, batch.packets[0].error, envelope, batch.packets[0].name)
        statuses = await self._service.accept(batch.arrivals)
        self._service.metrics.accept.observe(monotonic() - arrived)
        return statement(batch, statuses)

    async def _answered(self, body: bytes, envelope: Envelope | None, form: str) -> Response:
        """The items of one packet, decoded at once and not stored."""
        if self._free < 1:
            raise FullError(
                "expected a decoder that is free, found that all are busy: send it again later", RETRY_SECONDS
            )
        self._free -= 1
        try:
            loop = asyncio.get_running_loop()
            codec, data = await loop.run_in_executor(self._decoders, self._decode, body, envelope, form)
        except RemoteError as fault:
            return await self._refused(body, fault, envelope, name_of(body, envelope))
        finally:
            self._free += 1
        self._service.metrics.answered.labels(codec).inc()
        return Decoded(data, MEDIA_TYPES[form], self._service.memory)

    def _decode(self, body: bytes, envelope: Envelope | None, form: str) -> tuple[str, bytes]:
        arrival = self._service.intake.packet(body, envelope)
        codec = self._service.codecs[arrival.codec]
        charge = min(arrival.work, self._service.settings.bounds.work_bytes)  # more than all there is may come alone
        self._work.charge(charge)
        try:
            items = codec.decoder.decode(arrival.body)
        finally:
            self._work.release(charge)
        try:
            return codec.name, codec.family.to_bytes(items, form)
        except SettingError as fault:
            raise AcceptError(str(fault)) from fault

    async def _refused(self, body: bytes, fault: RemoteError, envelope: Envelope | None, name: str | None) -> Response:
        """What is wrong with a body; the name is that of its packet, None where it is a stream's as a whole."""
        await asyncio.to_thread(self._service.intake.refuse, body, fault, envelope)
        return problem(fault, name)

    async def refuse(self, request: Request, fault: Exception) -> Response:
        """What was refused before there was a body, or for no fault of its packet."""
        self._service.intake.count(fault)
        return problem(fault)

    async def codecs(self, request: Request) -> Response:
        """What is served."""
        self._check_reader(request)
        return JSONResponse({"codecs": [_described(codec) for codec in self._service.codecs]})

    def _check_reader(self, request: Request) -> None:
        """Raise a `TokenError` if not everybody may read, and nobody's who may is there."""
        if self._service.readers is not None:
            self._service.readers.device_of(request.headers.get("authorization"))

    def _reads(self, request: Request) -> bool:
        try:
            self._check_reader(request)
        except TokenError:
            return False
        return True

    async def healthz(self, request: Request) -> Response:
        """The process runs."""
        return JSONResponse({"alive": True})

    async def readyz(self, request: Request) -> Response:
        """Packets are taken and get to the sink."""
        obstacles = self._service.obstacles
        shown = obstacles if self._reads(request) else []
        return JSONResponse({"ready": not obstacles, "obstacles": shown}, 503 if obstacles else 200)

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        self._check_reader(request)
        return Response(self._service.metrics.render(), media_type=PROMETHEUS)

    async def openapi(self, request: Request) -> Response:
        """This interface."""
        return JSONResponse(self._document)


async def _http_error(request: Request, fault: Exception) -> Response:
    """Starlette's own: no such path, no such method."""
    if not isinstance(fault, HTTPException):
        raise fault
    return plain_problem(fault.status_code, type(fault).__name__, fault.detail, fault.headers)


async def _gone(request: Request, fault: Exception) -> Response:
    """Nobody reads this."""
    return Response(status_code=400)


async def _short(request: Request, fault: Exception) -> Response:
    """No memory for an answer, or for a thread: that may pass, and a trace would say no more."""
    if not is_local(fault):
        raise fault
    return problem(ResourceError(f"expected memory for an answer, found too little: {fault}; send it again later"))


async def _unexpected(request: Request, fault: Exception) -> Response:
    """A fault of ours; Starlette logs it."""
    return plain_problem(
        500, type(fault).__name__, "expected to answer, found a fault of the server's own: send it again later"
    )


def _known(request: Request) -> None:
    """Say so to the connection, where the server is ours: it keeps its place until the answer is out."""
    if KNOWN in request.scope:
        request.scope[KNOWN]()


def _check_media(request: Request) -> None:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != BYTES or "content-encoding" in request.headers:
        raise MediaTypeError(f"expected Content-Type {BYTES} and no Content-Encoding, found {found[:80]!r}")


def _envelope(request: Request) -> Envelope | EnvelopeError | None:
    """The headers' envelope, or what is wrong with it: the body is wanted all the same."""
    prefix = HEADER.lower()
    names = [name for name in request.headers if name.startswith(prefix)]
    if not names:
        return None
    if len(names) > len(set(names)):
        return EnvelopeError(f"expected each header once, found {', '.join(names)[:200]}")
    try:
        return Envelope.from_headers(request.headers)
    except EnvelopeError as fault:
        return fault


def _asked_form(request: Request) -> str | None:
    """What the client wants decoded at once; None where it wants the packet stored."""
    wanted = [entry.partition(";")[0].strip().lower() for entry in request.headers.get("accept", "").split(",")]
    return next((FORM_OF[entry] for entry in wanted if entry in FORM_OF), None)


def _described(codec: Codec) -> dict[str, Any]:
    return {
        "id": codec.identity.codec_id,
        "name": codec.name,
        "family": codec.identity.family,
        "contract": codec.contract.to_json(),
    }
