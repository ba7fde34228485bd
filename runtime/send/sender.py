"""`Sender`: items in, packets to a server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import BudgetError, EnvelopeError, InputError, LocalError, SettingError
from latentwire.runtime.families import family_for
from latentwire.runtime.send.batches import Batcher, Item
from latentwire.runtime.send.courier import Courier
from latentwire.runtime.send.link import IN_FLIGHT, TIMEOUT, Access, Link, Parcel
from latentwire.runtime.send.rate import Backoff, QualityControl, TokenBucket
from latentwire.runtime.send.spool import Bounds, Mark, Spool
from latentwire.runtime.send.transports import link_to
from latentwire.runtime.send.view import Totals
from latentwire.runtime.strictjson import Facts
from latentwire.runtime.wire import OVERHEAD, Envelope, Keys, Notes

DEFAULT_SPOOL = "latentwire.spool"
CLOSE_SECONDS = 5.0
TICK_SECONDS = 1.0
"""How often packets are looked through for those that are too old."""


@dataclass(frozen=True)
class Rate:
    """How much is sent, and how well.

    Args:
        quality: of packets while the spool is nearly empty, 0..255; None for the codec's default, or with
            ``max_bytes`` the highest that fits.
        lowest: quality when the spool is full; as high as ``quality``, it fixes the quality.
        max_bytes: of one packet, sealed if it is; batches that do not fit are divided.
        bandwidth: bytes a second, packets and envelopes; None for all there is.
    """

    quality: int | None = None
    lowest: int = 0
    max_bytes: int | None = None
    bandwidth: float | None = None


@dataclass(frozen=True)
class Status(Totals, Facts):
    """What became of everything that was put, over all starts with the same spool."""

    device: str
    spool: str
    gathering: int
    """Items in memory that wait for their batch to be complete."""
    quality: int
    """Of the next packet, at most."""
    last_error: str | None
    """What came last instead of an acknowledgement, or stood in the way of the disk."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"device": self.device, "spool": self.spool} | super().to_json()


class Sender:
    """Encodes items and sends the packets, with a spool in between: what is put arrives, whatever happens.

    `put` returns when the packet is on the disk; threads send it, until the server has acknowledged it. Safe to use
    from several threads. A context manager: leaving it is `close`.

    Args:
        encoder: of the items.
        to: the server's URL (https, http, mqtts, mqtt), or a transport of your own.
        spool: file for what waits; made where there is none.
        device: name of this sender, 1..64 of A-Z a-z 0-9 . _ -; the host's name if None.
        batch: vectors or windows in a packet; pictures go one by one. Items of a batch that is not complete are in
            memory only: `flush` makes a packet of them.
        batch_seconds: that an item waits for others at most; None for ever.
        rate: quality, bytes and bandwidth.
        bounds: of the spool.
        access: token and certificates.
        keys: to seal packets with; needs the extra `seal`.
        seal: name of the key; the device's name if None.
        timeout: seconds without an answer after which a packet is sent again.
        in_flight: packets on their way at once.
        backoff: waits after failures.
        clock: seconds, never going back; for tests.
        now: seconds since 1970-01-01 UTC; for tests.

    Raises:
        SettingError: an argument that makes no sense, or not with this codec.
        SpoolError: the spool cannot be used; the subclass says why.
        KeyFileError: there is no key of that name.
        MissingExtraError: the extra `send` is not installed, or a library that the codec's family needs.
    """

    def __init__(
        self,
        encoder: Encoder,
        to: str | Link,
        *,
        spool: str | Path = DEFAULT_SPOOL,
        device: str | None = None,
        batch: int = 1,
        batch_seconds: float | None = None,
        rate: Rate | None = None,
        bounds: Bounds | None = None,
        access: Access | None = None,
        keys: Keys | None = None,
        seal: str | None = None,
        timeout: float = TIMEOUT,
        in_flight: int = IN_FLIGHT,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._encoder, self._rate, self._clock, self._now = encoder, rate or Rate(), clock, now
        self._family = family_for(encoder.identity)
        self.device = socket.gethostname() if device is None else device
        self._keys, self._seal = keys, None if keys is None else seal or self.device
        self._batcher = _batcher(encoder, batch, batch_seconds)
        self._tick_seconds = min(TICK_SECONDS, batch_seconds or TICK_SECONDS)
        self._quality = QualityControl(*self._qualities())
        bucket = None if self._rate.bandwidth is None else TokenBucket(self._rate.bandwidth)
        self._check_names()
        link = link_to(to, self.device, access or Access(), timeout, in_flight) if isinstance(to, str) else to
        try:
            self._spool = Spool(spool, encoder.codec_id, self.device, bounds, clock)
        except BaseException:
            link.close()
            raise
        self._courier = Courier(self._spool, link, in_flight=in_flight, bucket=bucket, backoff=backoff, clock=clock)
        self._gathering, self._ended = threading.Lock(), threading.Event()
        self._finishing = threading.Lock()
        """Held while a batch that is not full becomes a packet, so that `flush` sees what the clock has begun."""
        self._closed = False
        self._lost: str | None = None
        self._ticker = threading.Thread(target=self._tick, name="latentwire-send-clock", daemon=True)
        self._ticker.start()

    def put(
        self,
        items: Array,
        notes: Notes | Sequence[Notes] = None,
        times: int | Sequence[int] | None = None,
        *,
        mark: Mark | None = None,
    ) -> None:
        """Encode and store; with ``batch`` 1 everything is on the disk when this returns.

        Args:
            items: one item or several, as `Encoder.encode` takes them; or one picture.
            notes: a JSON object to travel beside one item, or one (or None) for each of several.
            times: when each item was taken, milliseconds since 1970-01-01 UTC; now if None.
            mark: how far a file was taken with the last of these items.

        Raises:
            InputError: items that the contract does not allow, or notes or times that an envelope cannot hold.
            SettingError: a picture that is too large for a packet; or this sender is closed.
            BudgetError: one item takes more than ``max_bytes`` at the lowest quality. Those before it are stored.
            SpoolError: the packet cannot be stored.
        """
        self._check_open()
        gathered = self._items(items, notes, times, mark)
        with self._gathering:
            batches = self._batcher.add(gathered, self._clock())
        for batch in batches:
            self._store(batch)

    def flush(self, timeout: float | None = None) -> bool:
        """Store what was gathered, and wait until the server has answered for all that waits.

        Args:
            timeout: seconds; None for ever.

        Returns:
            Whether nothing waits any more.
        """
        self._check_open()
        self._store_rest()
        return self._courier.wait_idle(threading.TIMEOUT_MAX if timeout is None else timeout)

    def status(self) -> Status:
        """What became of everything so far."""
        totals = self._spool.totals()
        return Status(
            **asdict(totals),
            device=self.device,
            spool=self._spool.id,
            gathering=self._batcher.count,
            quality=self._quality.quality,
            last_error=self._courier.last_error or self._lost,
        )

    def progress(self, path: str) -> Mark | None:
        """How far a file was taken, by an earlier sender as well; None where nothing is known of it."""
        return self._spool.progress(path)

    def forget_missing(self, folder: str) -> None:
        """Forget how far files of a folder were taken that are no longer there."""
        self._spool.forget_missing(folder)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Flush for so many seconds, then end; what is left stays in the spool for the next start.

        Returns:
            Whether nothing is left.
        """
        if self._closed:
            return True
        try:
            return self.flush(timeout)
        finally:
            self._closed = True
            self._ended.set()
            self._ticker.join()
            self._courier.close()
            self._spool.close()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SettingError("expected an open sender, found a closed one: make another")
        if self._courier.fault is not None:
            raise self._courier.fault

    def _check_names(self) -> None:
        """What will travel in every envelope can."""
        try:
            Envelope(self.device, "0" * 32, 0, seal=self._seal)
        except EnvelopeError as fault:
            raise SettingError(f"{fault}: choose another name") from fault
        if self._keys is not None and self._seal is not None:
            self._keys.seal(b"", Envelope(self.device, "0" * 32, 0, seal=self._seal))

    def _qualities(self) -> tuple[int, int]:
        """(Highest, lowest)."""
        rate = self._rate
        default = self._encoder.default_quality if rate.max_bytes is None else 255
        highest = default if rate.quality is None else rate.quality
        return highest, rate.lowest

    def _items(
        self, items: Array, notes: Notes | Sequence[Notes], times: int | Sequence[int] | None, mark: Mark | None
    ) -> list[Item]:
        """The items one by one, each with what travels beside it, all of it checked."""
        values = self._family.values(items, self._encoder)
        count = len(values)
        each_note = list(notes) if isinstance(notes, Sequence) else [notes] if notes else [None] * count
        now = round(1000 * self._now()) if times is None else times
        each_time = [now] * count if isinstance(now, int) else list(now)
        for what, found in (("notes", len(each_note)), ("times", len(each_time))):
            if found != count:
                raise InputError(f"expected {what} for {count} items, found {found}")
        found_items = [Item(*fields) for fields in zip(values, each_time, each_note, strict=True)]
        for item in found_items:
            self._check_item(item)
        if mark is not None and found_items:
            last = found_items[-1]
            found_items[-1] = Item(last.value, last.time, last.note, mark)
        return found_items

    def _check_item(self, item: Item) -> None:
        if item.note is not None and not isinstance(item.note, Mapping):
            raise InputError(f"expected notes as JSON objects, found {type(item.note).__name__}")
        try:
            Envelope(self.device, "0" * 32, 0, (item.time,), (item.note,), self._seal)
        except (EnvelopeError, TypeError) as fault:
            raise InputError(str(fault)) from fault

    def _store_rest(self) -> None:
        with self._finishing:
            with self._gathering:
                batch = self._batcher.rest()
            if batch:
                self._store(batch)

    def _store_due(self) -> None:
        with self._finishing:
            with self._gathering:
                batch = self._batcher.due(self._clock())
            if batch:
                self._store(batch)

    def _store(self, batch: Sequence[Item]) -> None:
        """Encode a batch and put it into the spool; one that exceeds ``max_bytes`` becomes several."""
        fill = self._spool.totals().bytes / self._spool.bounds.bytes
        with self._gathering:
            quality = self._quality.update(fill)
        try:
            packet = self._encoded(batch, quality)
        except BudgetError:
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            self._store(batch[:middle])
            self._store(batch[middle:])
            return
        marks = {item.mark.path: item.mark for item in batch if item.mark is not None}
        if self._spool.add(lambda sequence: self._parcel(packet, batch, sequence), tuple(marks.values())) is None:
            self._lost = "expected room in the spool, found it full: a packet was dropped"
        self._courier.wake()

    def _encoded(self, batch: Sequence[Item], quality: int) -> bytes:
        values = np.stack([item.value for item in batch]) if self._encoder.batches else batch[0].value
        most = self._rate.max_bytes
        if most is not None and self._keys is not None:
            most = max(1, most - OVERHEAD)
        return self._encoder.encode(values, quality, max_bytes=most)

    def _parcel(self, packet: bytes, batch: Sequence[Item], sequence: int) -> Parcel:
        times, notes = tuple(item.time for item in batch), tuple(item.note for item in batch)
        envelope = Envelope(self.device, self._spool.id, sequence, times, notes, self._seal)
        return Parcel(envelope, packet if self._keys is None else self._keys.seal(packet, envelope))

    def _tick(self) -> None:
        """Batches whose time has come, packets whose time is over."""
        expire_at = self._clock()
        while not self._ended.wait(self._pause()):
            try:
                self._store_due()
                if self._clock() >= expire_at:
                    self._spool.expire()
                    expire_at = self._clock() + TICK_SECONDS
            except LocalError as fault:  # whoever put these items is told by `status`
                self._lost = str(fault)

    def _pause(self) -> float:
        deadline = self._batcher.deadline
        return self._tick_seconds if deadline is None else max(0.0, min(self._tick_seconds, deadline - self._clock()))


def _batcher(encoder: Encoder, batch: int, seconds: float | None) -> Batcher:
    """Gathers what this encoder takes in one packet."""
    if batch > 1 and not encoder.batches:
        raise SettingError(f"expected a batch of 1 with a codec of single items, found {batch}")
    if batch > 1 and not encoder.limits.allow((batch,)):
        raise SettingError(f"expected a batch of {encoder.limits.describe()}, found {batch}")
    return Batcher(batch, seconds)
