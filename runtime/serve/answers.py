"""What the service answers to whoever sends: the same members over HTTP and MQTT.

An answer that is for good, and about one packet, names it as an acceptance does: by its envelope, or else by SHA-256 of
the body. Anything on the way may answer 400 or 413, too; only an answer with the packet's name is the service's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from latentwire.runtime.errors import (
    IncompatibleError,
    LatentwireError,
    LimitError,
    ProviderError,
    RemoteError,
    ResourceError,
)
from latentwire.runtime.serve.errors import (
    AcceptError,
    BodySizeError,
    BusyError,
    ConflictError,
    DeviceError,
    DrainingError,
    HostError,
    InboxError,
    MediaTypeError,
    OriginError,
    SlowBodyError,
    TokenError,
    UnknownKeyError,
)
from latentwire.runtime.serve.inbox import RETRY_SECONDS, Arrival
from latentwire.runtime.serve.intake import Batch, Budget
from latentwire.runtime.serve.known import CONFLICT

PIECE = 1 << 16
"""Bytes of an answer that are sent at once."""
STATUSES: tuple[tuple[type[LatentwireError], int], ...] = (
    (TokenError, 401),
    (DeviceError, 403),
    (OriginError, 403),
    (UnknownKeyError, 403),
    (AcceptError, 406),
    (SlowBodyError, 408),
    (ConflictError, 409),
    (BodySizeError, 413),
    (LimitError, 413),
    (MediaTypeError, 415),
    (HostError, 421),
    (IncompatibleError, 422),
    (RemoteError, 400),
    (DrainingError, 503),
    (BusyError, 429),
    (InboxError, 503),
    (ResourceError, 503),
    (ProviderError, 503),
)
"""The first class that an error belongs to says its status; 500 where none does."""
FOR_GOOD = (400, 413, 415, 422)
"""Statuses of a packet that would be refused again."""


def refused(name: str | None, fault: Exception) -> dict[str, Any]:
    """A packet is refused for good; without a name where nobody can tell which."""
    named = {} if name is None else {"id": name}
    return {"status": "refused"} | named | {"error": type(fault).__name__, "message": str(fault)}


def taken(name: str, status: str) -> dict[str, Any]:
    """What became of a packet that passed its checks."""
    if status == CONFLICT:
        return refused(name, ConflictError(name)) | {"status": CONFLICT}
    return {"id": name, "status": status}


def statement(batch: Batch, statuses: Sequence[str]) -> Response:
    """What is said of the packets of one body.

    Args:
        batch: the packets.
        statuses: of those that passed, in their order.
    """
    found = iter(statuses)
    said = [
        taken(entry.name, next(found)) if isinstance(entry, Arrival) else refused(entry.name, entry.error)
        for entry in batch.packets
    ]
    if batch.is_stream:
        return JSONResponse({"packets": said}, 202)
    return JSONResponse(said[0], 409 if said[0]["status"] == CONFLICT else 202)


def problem(fault: Exception, name: str | None = None) -> Response:
    """An error as a response; ``fault`` is one of ours.

    Args:
        fault: what is wrong.
        name: of the one packet that it is about.
    """
    status = next((status for kind, status in STATUSES if isinstance(fault, kind)), 500)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(fault.retry_after if isinstance(fault, BusyError) else RETRY_SECONDS)
    if name is not None and status in FOR_GOOD:
        return JSONResponse(refused(name, fault), status, headers)
    return plain_problem(status, type(fault).__name__, str(fault), headers)


def plain_problem(status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error that is no packet's."""
    return JSONResponse({"error": error, "message": message}, status, headers)


class Decoded(Response):
    """Decoded items, sent as fast as the client reads them; their bytes are charged to the memory of all requests.

    Raises:
        FullError: there is no memory for them.
    """

    def __init__(self, data: bytes, media_type: str, memory: Budget) -> None:
        memory.charge(len(data))
        super().__init__(data, 200, media_type=media_type)
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send piece by piece: what is sent at once is all in the connection's buffer."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(0, len(self.body), PIECE):
                piece = self.body[at : at + PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": at + PIECE < len(self.body)})
        finally:
            self._memory.release(len(self.body))
