"""Errors of the service, below the runtime's own.

LocalError
BusyError (RuntimeError)            come again later: the sender keeps the packet                    429 or 503
FullError                           inbox, memory or decoder are at their bound                     429
DrainingError                       the service is about to end                                     503
InboxError (RuntimeError)           the inbox cannot be read or written                              503
SinkError (OSError)                 the sink does not take what was decoded
RemoteError
RequestError (ValueError)           a request, not its packet, is to blame
TokenError                          no token, or an unknown one                                     401
DeviceError                         another device's token                                          403
        UnknownKeyError                     sealed with a key that the server does not have yet             403
AcceptError                         what was asked for cannot be made of these items                406
SlowBodyError                       the body does not arrive                                        408
BodySizeError                       more bytes, or more packets, than a body may have               413
MediaTypeError                      the body is not application/octet-stream                        415
"""

from __future__ import annotations

from latentwire.runtime.errors import LocalError, RemoteError


class BusyError(LocalError, RuntimeError):
    """Not now; ``retry_after`` is in whole seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FullError(BusyError):
    """Inbox, memory or decoder are at their bound."""


class DrainingError(BusyError):
    """The service finishes what it has begun and ends."""


class InboxError(LocalError, RuntimeError):
    """The inbox cannot be opened, read or written."""


class SinkError(LocalError, OSError):
    """The sink does not take what was decoded."""


class RequestError(RemoteError, ValueError):
    """A request, not its packet, is to blame."""


class TokenError(RequestError):
    """No token, or one that nobody was given."""


class DeviceError(RequestError):
    """A token of another device than the packet's."""


class UnknownKeyError(RequestError):
    """A packet sealed with a key that the server does not have: it may have it later, so the sender keeps it."""


class AcceptError(RequestError):
    """These items cannot be answered as what was asked for."""


class SlowBodyError(RequestError):
    """A body that does not arrive in time."""


class BodySizeError(RequestError):
    """More bytes or more packets than a body may have."""


class MediaTypeError(RequestError):
    """A body that does not say that it is bytes."""
