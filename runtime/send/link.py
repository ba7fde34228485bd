"""What a transport is to the sender: it delivers one packet and says what became of it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from latentwire.runtime.errors import SettingError
from latentwire.runtime.wire import Envelope

TIMEOUT = 30.0
"""Seconds without an answer after which a packet is sent again."""
IN_FLIGHT = 8
"""Packets on their way at once."""


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
class Conflict:
    """The server has another content under this name, so it does not have this packet: a spool was copied."""

    message: str


@dataclass(frozen=True)
class Busy:
    """Not now: it stays in the spool and is sent again.

    Args:
        message: what came instead of an acknowledgement.
        retry_after: seconds that the server asked for.
        needs_hand: nothing but a person changes it, such as a wrong token.
        is_packets: the fault may be the packet's own: others go first, it must not be in their way.
        kind: in a word; while it stays the same nothing new has happened. The message if empty.
    """

    message: str
    retry_after: float = 0.0
    needs_hand: bool = False
    is_packets: bool = False
    kind: str = ""


Verdict = Accepted | Refused | Conflict
"""What only the server itself can say of a packet."""
Answer = Verdict | Busy


def verdict_on(name: str, told: Mapping[str, object]) -> Verdict | None:
    """What the server says of the packet of that name; None where it speaks of another, or says nothing final.

    A proxy's page, a hotel's login, another server's error: whatever does not name the packet is a fault of the way.

    Args:
        name: the envelope's id.
        told: the JSON object of an answer.
    """
    if told.get("id") != name:
        return None
    status, message = told.get("status"), str(told.get("message", ""))
    if status in ("accepted", "duplicate"):
        return Accepted()
    if status == "refused":
        return Refused(str(told.get("error", "")), message)
    return Conflict(message) if status == "conflict" else None


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
