"""Errors of the service, below the runtime's own.

LocalError
BusyError (RuntimeError)            come again later: the sender keeps the packet                    429 or 503
FullError                           inbox, memory or decoder are at their bound                     429
DrainingError                       the service is about to end                                     503
InboxError (RuntimeError)           the inbox cannot be read or written                              503
LostInboxError                      it is gone, though something says that there was one
DamagedInboxError                   SQLite cannot read it whole
SinkError (OSError)                 the sink does not take what was decoded
RemoteError
ConflictError (ValueError)          another packet under a name that is known                        409
RequestError (ValueError)           a request, not its packet, is to blame
TokenError                          no token, or an unknown one                                     401
ExpiredTokenError                   one that has expired
DeviceError                         another device's token                                          403
OriginError                         of another page in a browser, to a service without tokens       403
HostError                           to a name that is none of the server's                          421
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


class LostInboxError(InboxError):
    """There is no inbox where something says that there was one."""


class DamagedInboxError(InboxError):
    """An inbox that SQLite cannot read whole."""


class SinkError(LocalError, OSError):
    """The sink does not take what was decoded."""


class ConflictError(RemoteError, ValueError):
    """Another packet under a name that was accepted before: the sender's spool was restored or cloned."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"expected the packet that {name} was accepted for, found another: the spool was cloned or put back; send "
            "it from a new spool"
        )


class RequestError(RemoteError, ValueError):
    """A request, not its packet, is to blame."""


class TokenError(RequestError):
    """No token, or one that nobody was given."""


class ExpiredTokenError(TokenError):
    """A token that has expired."""


class OriginError(RequestError):
    """A request of a page that is not the server's own."""


class HostError(RequestError):
    """A request to a name that is none of the server's."""


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
