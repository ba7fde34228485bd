"""Who may send: a file of devices and the SHA-256 of each one's token.

    {"gate-3": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", ...}

A token is 32 random bytes, so its plain SHA-256 tells nothing of it; no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import threading
from pathlib import Path

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import InputFileError, ManifestError
from latentwire.runtime.serve.errors import DeviceError, TokenError
from latentwire.runtime.serve.logs import event
from latentwire.runtime.strictjson import Fields, parse
from latentwire.runtime.wire import Envelope

TOKEN_BYTES = 32
_SCHEME = "bearer "
_ANY_SPOOL = "0" * 32


class Tokens:
    """The tokens of a file, read again when the file has changed.

    Args:
        path: the file.

    Raises:
        InputFileError: it cannot be read, or is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._devices = _by_digest(path)

    def device_of(self, authorization: str | None) -> str:
        """The device whose token an ``Authorization`` header carries.

        Raises:
            TokenError: none, or nobody's.
        """
        text = authorization or ""
        if text[: len(_SCHEME)].lower() != _SCHEME:
            raise TokenError(
                "expected `Authorization: Bearer TOKEN`, found none: ask the server's operator for a token"
            )
        self._refresh()
        digest = digest_of(text[len(_SCHEME) :].strip())
        found: str | None = None
        for known, device in self._devices.items():  # all of them, whichever it is
            if hmac.compare_digest(known, digest):
                found = device
        if found is None:
            raise TokenError("expected the token of a device, found an unknown one: ask for a new token")
        return found

    def _refresh(self) -> None:
        """A device that was added, or taken out, counts from the next request on."""
        try:
            stamp = _stamp(self._path)
            with self._lock:
                if stamp != self._stamp:
                    self._devices, self._stamp = _by_digest(self._path), stamp
        except InputFileError as fault:  # those that are known count until the file can be read again
            event("tokens", logging.ERROR, error=type(fault).__name__, message=str(fault))


def check_device(device: str, envelope: Envelope | None) -> None:
    """The packet comes from the token's device.

    Raises:
        DeviceError: it says that it comes from another.
    """
    if envelope is not None and envelope.device != device:
        raise DeviceError(f"expected a packet of {device}, whose token this is, found one of {envelope.device}")


def digest_of(token: str) -> str:
    """What the file has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def draw(path: Path, device: str) -> str:
    """A new token for the device; the file, made if it is not there, holds its hash from now on. The old one ends.

    Raises:
        EnvelopeError: no device can have that name.
        InputFileError: the file cannot be read or written.
    """
    Envelope(device, _ANY_SPOOL, 0)
    found = _read(path) if path.exists() else {}
    token = secrets.token_urlsafe(TOKEN_BYTES)
    _write(path, json.dumps(found | {device: digest_of(token)}, indent=1) + "\n")
    return token


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file of tokens, found {fault}") from fault
    return status.st_mtime_ns, status.st_size, status.st_ino


def _by_digest(path: Path) -> dict[str, str]:
    return {digest: device for device, digest in _read(path).items()}


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes()
        found = parse(text, str(path))
        fields = Fields(found, str(path))
        return {device: fields.digest(device) for device in (found if isinstance(found, dict) else ())}
    except (OSError, ManifestError) as fault:
        raise InputFileError(f"{path}: expected a file of tokens, found {fault}") from fault


def _write(path: Path, text: str) -> None:
    try:
        with whole_file(path, durable=True, private=True) as file:
            file.write(text.encode())
    except OSError as fault:
        raise InputFileError(f"{path}: expected a disk with room for it, found {fault}") from fault
