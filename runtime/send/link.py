"""What a transport is to the sender: it delivers one packet and says what became of it."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from latentwire.runtime.errors import MissingExtraError, SettingError
from latentwire.runtime.wire.envelope import Envelope

TIMEOUT = 30.0
"""Seconds without an answer after which a packet is sent again."""
IN_FLIGHT = 8
"""Packets on their way at once."""
SCHEMES = ("http", "https", "mqtt", "mqtts")


@dataclass(frozen=True)
class Parcel:
    """A packet, sealed or not, and what travels beside it."""

    envelope: Envelope
    body: bytes

    @property
    def size(self) -> int:
        """Bytes of both, as far as bandwidth goes: what HTTP, MQTT and TLS add is not counted."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.envelope.to_fields().items())


@dataclass(frozen=True)
class Accepted:
    """The server has it for good."""


@dataclass(frozen=True)
class Refused:
    """The server will never take it."""

    error: str
    message: str


@dataclass(frozen=True)
class Busy:
    """Not now: it stays in the spool and is sent again.

    Args:
        message: what came instead of an acknowledgement.
        retry_after: seconds that the server asked for.
        needs_hand: nothing but a person changes it, such as a wrong token.
        is_packets: the fault may be the packet's own: others go first, it must not be in their way.
    """

    message: str
    retry_after: float = 0.0
    needs_hand: bool = False
    is_packets: bool = False


Answer = Accepted | Refused | Busy


class Link(Protocol):
    """A transport; several threads use it at once."""

    def deliver(self, parcel: Parcel) -> Answer:
        """Send one packet and wait for its answer, not for ever."""

    def close(self) -> None:
        """End it; what is being delivered comes back as `Busy`."""


@dataclass(frozen=True)
class Access:
    """How to reach a server that asks who is there.

    Args:
        token: what the server knows the device by.
        ca: file of certificates (PEM) to trust instead of the system's. Certificates are always checked.
        insecure_http: send the token also over plain http:// to another machine.
    """

    token: str | None = None
    ca: str | Path | None = None
    insecure_http: bool = False

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise SettingError("expected a token of printable ASCII characters, found another: draw one on the server")

    def context(self) -> ssl.SSLContext:
        """TLS with these certificates.

        Raises:
            SettingError: the file holds none.
        """
        try:
            return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except OSError as fault:
            raise SettingError(f"expected certificates (PEM) in {self.ca}, found: {fault}") from fault


def link_to(url: str, device: str, access: Access, timeout: float = TIMEOUT, in_flight: int = IN_FLIGHT) -> Link:
    """The transport that a URL names.

    Args:
        url: ``https://host:port``, ``http://``, ``mqtts://user:password@host:port`` or ``mqtt://``.
        device: name of this sender.
        access: token and certificates.
        timeout: seconds to wait for an answer.
        in_flight: packets on their way at once.

    Raises:
        SettingError: another kind of URL, or a token would go over plain http:// to another machine.
        MissingExtraError: the extra `send` is not installed.
    """
    parts = _parts(url)
    try:
        if parts.scheme in ("mqtt", "mqtts"):
            from latentwire.runtime.send.mqtt import MqttLink

            return MqttLink(parts, device, access, timeout, in_flight)
        from latentwire.runtime.send.http import HttpLink
    except ModuleNotFoundError as fault:
        raise MissingExtraError("sending needs the send extra: pip install 'latentwire[send]'") from fault
    if access.token and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not access.insecure_http:
        raise SettingError(
            "expected https:// for a token, found http:// to another machine, where anybody on the way can read it: "
            "use https://, or allow it (--insecure-http)"
        )
    return HttpLink(parts, access, timeout, in_flight)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, told by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _parts(url: str) -> SplitResult:
    """A URL's parts; messages leave out the URL, which may hold a password."""
    expected = "expected https://HOST:PORT, http://, mqtts:// or mqtt:// for the server"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as fault:
        raise SettingError(f"{expected}, found a URL that is none: {fault}") from fault
    if parts.scheme not in SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise SettingError(f"{expected}, found another kind of URL")
    return parts
