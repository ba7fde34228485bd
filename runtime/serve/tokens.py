"""Who may send, and who may read: the tokens of a file, see `tokenfile`.

The file is read again when it has changed. One that is gone or damaged has no tokens: who wanted to take a device out
must not have to wonder whether it still counts.
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from latentwire.runtime.errors import InputFileError
from latentwire.runtime.serve.errors import DeviceError, ExpiredTokenError, TokenError
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.tokenfile import Grant, digest_of, is_open, read, said
from latentwire.runtime.wire import Envelope

_SCHEME = "bearer "

Stamp = tuple[int, int, int]


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Tokens:
    """The tokens of a file.

    Args:
        path: the file.
        clock: the time, in UTC.

    Raises:
        InputFileError: it cannot be read, or is not such a file.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = _now) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: Stamp | None = _stamp(path)
        self._grants = read(path)
        self._fault: str | None = None
        if is_open(path):
            event("tokens", logging.WARNING, message=f"{path}: expected mode 0600, found that others may read it")

    @property
    def obstacle(self) -> str | None:
        """Why nobody's token counts; None where they do."""
        self._refresh()
        return None if self._fault is None else "tokens: their file is gone or damaged, no token counts"

    def device_of(self, authorization: str | None) -> str:
        """The device whose token an ``Authorization`` header carries.

        Raises:
            TokenError: none, nobody's, or one that has expired. Only who has the token hears that it had been one.
        """
        text = authorization or ""
        if text[: len(_SCHEME)].lower() != _SCHEME:
            raise TokenError(
                "expected `Authorization: Bearer TOKEN`, found none: ask the server's operator for a token"
            )
        self._refresh()
        digest = digest_of(text[len(_SCHEME) :].strip())
        found: tuple[str, Grant] | None = None
        for device, grant in self._grants.items():  # all of them, whichever it is
            if hmac.compare_digest(grant.digest, digest):
                found = device, grant
        if found is None:
            raise TokenError("expected the token of a device, found an unknown one: ask for a new token")
        device, grant = found
        if grant.expires is not None and grant.has_ended(self._clock()):
            raise ExpiredTokenError(
                f"expected a token that counts, found that of {device}, which ended {said(grant.expires)}: "
                "ask for a new token"
            )
        return device

    def _refresh(self) -> None:
        """A device that was added, or taken out, counts from the next request on; without a file none does."""
        with self._lock:
            try:
                stamp = _stamp(self._path)
                if stamp == self._stamp:
                    return
                grants = read(self._path)
            except InputFileError as fault:
                self._stamp, self._grants = None, {}
                if str(fault) != self._fault:  # once for each, not with every request
                    self._fault = str(fault)
                    event("tokens", logging.ERROR, error=type(fault).__name__, message=f"no token counts: {fault}")
                return
            self._stamp, self._grants, self._fault = stamp, grants, None
            event("tokens", devices=len(grants))


def check_device(device: str, envelope: Envelope | None) -> None:
    """The packet comes from the token's device.

    Raises:
        DeviceError: it says that it comes from another.
    """
    if envelope is not None and envelope.device != device:
        raise DeviceError(f"expected a packet of {device}, whose token this is, found one of {envelope.device}")


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file of tokens, found {fault}") from fault
    return status.st_mtime_ns, status.st_size, status.st_ino
