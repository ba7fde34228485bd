"""Packets sealed from device to server: nobody between them reads, changes or moves one.

A sealed body is 12 random bytes (the nonce), then AES-256-GCM's ciphertext of the packet with its tag of 16 bytes (NIST
SP 800-38D). The envelope is authenticated with it: a body under another device, spool, sequence, time or note does not
open. What is not hidden is the envelope itself, and how long the packet is.

A key file is a JSON object, the key's name -> base64 of 32 bytes; a device has its own key, the server those of all.
Nonces are drawn at random: a key is good for 2^32 packets (section 8.3 of the same).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import EnvelopeError, KeyFileError, ManifestError, MissingExtraError, SealError
from latentwire.runtime.strictjson import parse
from latentwire.runtime.wire.envelope import Envelope

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
"""Bytes that a sealed body is longer than its packet."""


class Keys:
    """Keys by name, for sealing and opening; needs the extra `seal`.

    Args:
        keys: name -> 32 bytes.

    Raises:
        KeyFileError: a key has another length, or a name that an envelope does not take.
        MissingExtraError: `cryptography` is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError as fault:
            raise MissingExtraError("sealed packets need the seal extra: pip install 'latentwire[seal]'") from fault
        for name, key in keys.items():
            _check_name(name)
            if len(key) != KEY_BYTES:
                raise KeyFileError(f"expected a key {name!r} of {KEY_BYTES} bytes, found {len(key)}: draw another one")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """The keys of a file.

        Raises:
            KeyFileError: it cannot be read, or is not what the top of this file says.
            MissingExtraError: as for the class.
        """
        found = _read(Path(path))
        if not found:
            raise KeyFileError(f"{path}: expected one key or more, found none: draw one")
        return cls({name: _decoded(name, text, path) for name, text in found.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the keys."""
        return tuple(self._ciphers)

    def seal(self, packet: bytes, envelope: Envelope) -> bytes:
        """The sealed body of a packet.

        Args:
            packet: any bytes.
            envelope: what travels beside it; its ``seal`` names the key.

        Raises:
            KeyFileError: there is no such key.
        """
        name = envelope.seal or ""
        if name not in self._ciphers:
            raise KeyFileError(f"expected the key {name!r}, found only {', '.join(self.names)}: add it to the key file")
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[name].encrypt(nonce, packet, _associated(envelope))

    def open(self, body: bytes, envelope: Envelope) -> bytes:
        """The packet of a sealed body.

        Raises:
            SealError: sealed with a key that is not here, or not sealed with it for this very envelope.
        """
        from cryptography.exceptions import InvalidTag

        name = envelope.seal or ""
        if name not in self._ciphers:
            raise SealError(f"expected a body sealed with a key that is here, found {name!r}: add it to the key file")
        if len(body) < OVERHEAD:
            raise SealError(f"expected a sealed body of {OVERHEAD} bytes or more, found {len(body)}")
        nonce, sealed = bytes(body[:NONCE_BYTES]), bytes(body[NONCE_BYTES:])
        try:
            return self._ciphers[name].decrypt(nonce, sealed, _associated(envelope))
        except InvalidTag as fault:
            raise SealError(
                f"expected a body that was sealed with {name!r} for this envelope, found another: refuse it"
            ) from fault


def draw_key(path: str | Path, name: str) -> None:
    """Add a new random key to a key file, which is made, for its owner alone, if it is not there.

    Raises:
        KeyFileError: the file is something else, or has a key of that name, or the name is not one.
        InputFileError: the folder cannot be written to.
    """
    target = Path(path)
    _check_name(name)
    keys = _read(target) if target.exists() else {}
    if name in keys:
        raise KeyFileError(f"{path}: expected no key {name!r}, found one: choose another name")
    keys[name] = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    with whole_file(target, durable=True, private=True) as file:
        file.write(json.dumps(keys, indent=1).encode() + b"\n")


def _check_name(name: str) -> None:
    try:
        Envelope("any", "0" * 32, 0, seal=name)
    except EnvelopeError as fault:
        raise KeyFileError(f"expected the name of a key, found another text: {fault}") from fault


def _read(path: Path) -> dict[str, object]:
    try:
        found = parse(path.read_bytes(), str(path))
    except (OSError, ManifestError) as fault:
        raise KeyFileError(f"expected a key file at {path}, found: {fault}") from fault
    if not isinstance(found, dict):
        raise KeyFileError(f"{path}: expected an object of names and keys, found {type(found).__name__}")
    return found


def _decoded(name: str, text: object, path: str | Path) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except binascii.Error as fault:
        raise KeyFileError(f"{path}: expected key {name!r} as base64, found {fault}") from fault


def _associated(envelope: Envelope) -> bytes:
    return json.dumps(envelope.to_fields(), sort_keys=True, separators=(",", ":")).encode()
