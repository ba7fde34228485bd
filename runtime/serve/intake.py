"""From the bytes of one request, or of one MQTT message, to packets that may be stored. Nothing is decoded here."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from latentwire.runtime.errors import EnvelopeError, LayoutError, RemoteError
from latentwire.runtime.serve.codecs import Codecs
from latentwire.runtime.serve.errors import BodySizeError, FullError, RequestError, UnknownKeyError
from latentwire.runtime.serve.inbox import RETRY_SECONDS, Arrival
from latentwire.runtime.serve.known import content_of
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.metrics import Metrics
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.settings import Bounds
from latentwire.runtime.wire import LENGTH, MAX_SEQUENCE, Damaged, Envelope, Keys, Packet, is_packet, read_stream


@dataclass(frozen=True)
class Refusal:
    """A packet that did not pass its checks."""

    name: str | None
    """As it would have been accepted under; None for bytes of a stream without an envelope that are no packet."""
    error: RemoteError


Checked = Arrival | Refusal


class Budget:
    """Bytes of memory that all requests share."""

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._lock = threading.Lock()

    def charge(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            FullError: there are not so many.
        """
        with self._lock:
            if self._used + count > self._most:
                raise FullError(
                    f"expected {count} bytes of memory, found {self._most - self._used}: send it later",
                    RETRY_SECONDS,
                )
            self._used += count

    def release(self, count: int) -> None:
        """Give them back."""
        with self._lock:
            self._used -= count


@dataclass(frozen=True)
class Batch:
    """What one body held."""

    packets: tuple[Checked, ...]
    is_stream: bool

    @property
    def arrivals(self) -> list[Arrival]:
        """Those that passed."""
        return [found for found in self.packets if isinstance(found, Arrival)]


class Intake:
    """Checks bodies.

    Args:
        codecs: that are served.
        keys: for sealed packets, or None.
        quarantine: where refused packets go.
        metrics: counts them.
        bounds: of a packet and a body.
    """

    def __init__(
        self, codecs: Codecs, keys: Keys | None, quarantine: Quarantine, metrics: Metrics, bounds: Bounds
    ) -> None:
        self._codecs, self._keys, self._bounds = codecs, keys, bounds
        self._quarantine, self._metrics = quarantine, metrics

    def check(self, body: bytes, envelope: Envelope | None) -> Batch:
        """The packets of a body, named; a bad one is a refusal in its place.

        Raises:
            RemoteError: what is wrong with a stream as a whole, or with a request whatever its packet.
        """
        is_sealed = envelope is not None and envelope.seal is not None
        records = [] if is_sealed or is_packet(body) else self._records(body)
        if any(isinstance(record, Packet) for record in records):
            return self._stream(body, records, envelope)
        try:
            return Batch((self.named(self._opened(body, envelope), envelope),), is_stream=False)
        except RequestError:
            raise
        except RemoteError as fault:
            return Batch((Refusal(name_of(body, envelope), fault),), is_stream=False)

    def packet(self, body: bytes, envelope: Envelope | None) -> Arrival:
        """The packet of a body that holds one and nothing else, opened where it is sealed.

        A stream of one, as `latentwire encode` writes it, is as good.

        Raises:
            RemoteError: not one intact packet that is served.
        """
        return self.named(self._opened(self._only(body, envelope), envelope), envelope)

    def _only(self, body: bytes, envelope: Envelope | None) -> bytes:
        """The packet of a stream that holds one; any other body as it is."""
        if is_packet(body) or (envelope is not None and envelope.seal is not None):
            return body
        records = list(islice(read_stream(io.BytesIO(body), self._bounds.packet_bytes), 2))
        return records[0].data if len(records) == 1 and isinstance(records[0], Packet) else body

    def refuse(self, body: bytes, fault: RemoteError, envelope: Envelope | None = None) -> None:
        """Count what is wrong with a body, say it, and keep the body in quarantine."""
        self.count(fault, envelope)
        if not isinstance(fault, RequestError):
            with suppress(OSError):
                self._quarantine.add(body, fault, envelope)

    def count(self, fault: Exception, envelope: Envelope | None = None) -> None:
        """Count a refusal and say it."""
        reason = type(fault).__name__
        self._metrics.refused.labels(reason).inc()
        event(
            "refused",
            logging.WARNING,
            error=reason,
            message=str(fault)[:400],
            id=None if envelope is None else envelope.id,
        )

    def _opened(self, body: bytes, envelope: Envelope | None) -> bytes:
        if envelope is None or envelope.seal is None:
            return body
        if self._keys is None or envelope.seal not in self._keys.names:
            raise UnknownKeyError(f"expected a key that the server has, found {envelope.seal!r}: add it to its --keys")
        return self._keys.open(body, envelope)

    def named(self, packet: bytes, envelope: Envelope | None) -> Arrival:
        """The packet, opened already, under its name.

        Raises:
            RemoteError: not one intact packet that is served.
        """
        codec, header = self._codecs.check(packet)
        return Arrival(
            name_of(packet, envelope),
            envelope,
            codec.key,
            codec.work_bytes(header),
            packet,
            content_of(packet, envelope),
        )

    def _stream(self, body: bytes, records: Sequence[Packet | Damaged], envelope: Envelope | None) -> Batch:
        if envelope is not None:
            check_stream(body, records, envelope)
        packets: list[Checked] = []
        for place, record in enumerate(records):
            named = None if envelope is None else replace(envelope, sequence=envelope.sequence + place)
            found = self._record(record, named)
            packets.append(found)
            if isinstance(found, Refusal):
                self.refuse(body[record.offset :][: _length(record)], found.error, named)
        return Batch(tuple(packets), is_stream=True)

    def _records(self, body: bytes) -> list[Packet | Damaged]:
        most = self._bounds.body_packets
        records = []
        for record in read_stream(io.BytesIO(body), self._bounds.packet_bytes):
            records.append(record)
            if len(records) > most:
                raise BodySizeError(f"expected at most {most} packets in a body, found more: send them in several")
        return records

    def _record(self, record: Packet | Damaged, envelope: Envelope | None) -> Checked:
        if isinstance(record, Damaged):
            return Refusal(None if envelope is None else envelope.id, record.error)
        try:
            return self.named(record.data, envelope)
        except RemoteError as fault:
            return Refusal(name_of(record.data, envelope), fault)


def name_of(packet: bytes, envelope: Envelope | None) -> str:
    """What a packet is accepted, or refused, under."""
    return hashlib.sha256(packet).hexdigest() if envelope is None else envelope.id


def check_stream(body: bytes, records: Sequence[Packet | Damaged], envelope: Envelope) -> None:
    """The envelope of the first packet names all of them.

    Raises:
        EnvelopeError: it has times or notes, which belong to the items of one packet; or the sequences run out.
        LayoutError: where frames are damaged so that nobody can tell how many there were.
    """
    if envelope.times or envelope.notes:
        raise EnvelopeError("times, notes: expected none beside a stream, found some: send its packets one by one")
    if envelope.sequence + len(records) > MAX_SEQUENCE:
        raise EnvelopeError(f"sequence: expected room for {len(records)} packets, found {envelope.sequence}")
    for record in records:
        if isinstance(record, Damaged) and body[record.offset :][: LENGTH.size] != LENGTH.pack(
            max(0, record.length - LENGTH.size)
        ):
            raise LayoutError(
                f"expected frames one behind the other, found {record.length} bytes at {record.offset} that are none: "
                "sequences cannot be told; send the packets one by one"
            )


def _length(record: Packet | Damaged) -> int:
    """Bytes of a record, its frame included."""
    return record.length if isinstance(record, Damaged) else LENGTH.size + len(record.data)
