"""`Sender`: items in, packets to a server."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

from latentwire.runtime.contract import OUT_OF_RANGE, Array, OutOfRange
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import BudgetError, EnvelopeError, InputError, LocalError, SettingError
from latentwire.runtime.families import family_for
from latentwire.runtime.send.batches import Batcher, Item
from latentwire.runtime.send.courier import Courier
from latentwire.runtime.send.errors import SpoolError
from latentwire.runtime.send.events import QUIET_SECONDS, Event
from latentwire.runtime.send.link import IN_FLIGHT, TIMEOUT, Access, Link
from latentwire.runtime.send.packer import NO_SPOOL, Packer
from latentwire.runtime.send.rate import Backoff, Rate, TokenBucket
from latentwire.runtime.send.screen import Screen, Screened
from latentwire.runtime.send.spool import Bounds, Mark, Spool, Tally
from latentwire.runtime.send.transports import link_to
from latentwire.runtime.send.view import Status
from latentwire.runtime.wire import Keys, Notes

DEFAULT_SPOOL = "latentwire.spool"
CLOSE_SECONDS = 5.0
TICK_SECONDS = 1.0
"""How often packets are looked through for those that are too old."""
LOGGER = logging.getLogger("latentwire.send")


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
        out_of_range: what becomes of items with values that the codec's contract does not allow: `error` makes `put`
            raise, `clip` moves them into the range, `skip` leaves such items out; both are counted in `status`. What is
            not a number cannot be clipped: such an item is left out.
        rate: quality, bytes and bandwidth.
        bounds: of the spool.
        access: token and certificates.
        keys: to seal packets with; needs the extra `seal`.
        seal: name of the key; the device's name if None.
        timeout: seconds without an answer after which a packet is sent again.
        in_flight: packets on their way at once.
        backoff: waits after failures.
        on_event: is told each change of state, from a thread of the sender's; the log has it anyway.
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
        out_of_range: OutOfRange = "error",
        rate: Rate | None = None,
        bounds: Bounds | None = None,
        access: Access | None = None,
        keys: Keys | None = None,
        seal: str | None = None,
        timeout: float = TIMEOUT,
        in_flight: int = IN_FLIGHT,
        backoff: Backoff | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._now, rate = clock, now, rate or Rate()
        if out_of_range not in OUT_OF_RANGE:
            raise SettingError(f"expected out_of_range of {', '.join(OUT_OF_RANGE)}, found {out_of_range!r}")
        self._screen = Screen(encoder, family_for(encoder.identity), out_of_range)
        self._on_event = on_event
        self.device = socket.gethostname() if device is None else device
        self._packer = Packer(encoder, self.device, rate, keys, seal, self._missed)
        self._batcher = _batcher(encoder, batch, batch_seconds)
        self._tick_seconds = min(TICK_SECONDS, batch_seconds or TICK_SECONDS)
        bucket = None if rate.bandwidth is None else TokenBucket(rate.bandwidth)
        link = link_to(to, self.device, access or Access(), timeout, in_flight) if isinstance(to, str) else to
        try:
            self._spool = Spool(spool, encoder.codec_id, self.device, bounds, clock)
        except BaseException:
            link.close()
            raise
        self._courier = Courier(
            self._spool, link, in_flight=in_flight, bucket=bucket, backoff=backoff, reseal=self._packer.reseal,
            hear=self._hear, clock=clock,
        )  # fmt: skip
        self._gathering, self._ended = threading.Lock(), threading.Event()
        self._finishing = threading.Lock()
        """Held while a batch that is not full becomes a packet, so that `flush` sees what the clock has begun; and
        while items of files do, so that no mark is stored before the items that it speaks of."""
        self._closed = self._in_order = False
        self._lost: str | None = None
        self._dropped, self._quiet_until = self._spool.totals().dropped, -math.inf
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
            InputError: items that the contract does not allow, or notes or times that an envelope cannot hold; nothing
                of what was put is taken then.
            SettingError: a picture that is too large for a packet; or this sender is closed.
            BudgetError: one item takes more than ``max_bytes`` at the lowest quality. The others are taken.
            SpoolError: the packet cannot be stored.
        """
        faults = self._put(items, notes, times, mark, apart=False)
        if faults:
            raise faults[0]

    def offer(
        self,
        items: Array,
        notes: Notes | Sequence[Notes] = None,
        times: int | Sequence[int] | None = None,
        *,
        mark: Mark | None = None,
        first: int = 0,
    ) -> list[LocalError]:
        """As `put`, but with the policy `error` an item out of the range is left out and counted, and the others go on.

        Args:
            items: as in `put`.
            notes: as in `put`.
            times: as in `put`.
            mark: as in `put`; an item that is left out counts as taken.
            first: place of the first item in its file, for messages.

        Returns:
            What was wrong with each item that was left out; an item that had waited for its batch may be among them.
        """
        return self._put(items, notes, times, mark, first, apart=True)

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
            quality=self._packer.quality,
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

    def _put(
        self,
        items: Array,
        notes: Notes | Sequence[Notes],
        times: int | Sequence[int] | None,
        mark: Mark | None,
        first: int = 0,
        *,
        apart: bool,
    ) -> list[LocalError]:
        """Gather, and store what is complete; returns what was wrong with items that were left out."""
        self._check_open()
        screened = self._screen.look(items, first, apart=apart)
        gathered = self._items(screened, notes, times, mark)
        faults: list[LocalError] = list(screened.faults)
        with self._ordered(mark):
            with self._gathering:
                batches = self._batcher.add(gathered, self._clock())
            for batch in batches:
                faults += self._store(batch)
        return faults

    def _ordered(self, mark: Mark | None) -> AbstractContextManager[object]:
        """From the first mark on, batches become packets one after the other."""
        self._in_order = self._in_order or mark is not None
        return self._finishing if self._in_order else nullcontext()

    def _check_open(self) -> None:
        if self._closed:
            raise SettingError("expected an open sender, found a closed one: make another")
        if self._courier.fault is not None:
            raise self._courier.fault

    def _items(
        self,
        screened: Screened,
        notes: Notes | Sequence[Notes],
        times: int | Sequence[int] | None,
        mark: Mark | None,
    ) -> list[Item]:
        """The items one by one, each with what travels beside it, all of it checked; holes for those left out."""
        count = len(screened.values)
        each_note = list(notes) if isinstance(notes, Sequence) else [notes] if notes else [None] * count
        now = round(1000 * self._now()) if times is None else times
        each_time = [now] * count if isinstance(now, int) else list(now)
        for what, found in (("notes", len(each_note)), ("times", len(each_time))):
            if found != count:
                raise InputError(f"expected {what} for {count} items, found {found}")
        found_items = []
        for place, fields in enumerate(zip(screened.values, each_time, each_note, strict=True)):
            tally = Tally(clipped=place in screened.clipped, skipped=fields[0] is None)
            found_items.append(Item(*fields, tally=tally))
            self._check_item(found_items[-1])
        if mark is not None and found_items:
            left_out = mark.left_out + len(screened.faults)
            found_items[-1] = replace(found_items[-1], mark=replace(mark, left_out=left_out))
        return found_items

    def _check_item(self, item: Item) -> None:
        if item.note is not None and not isinstance(item.note, Mapping):
            raise InputError(f"expected notes as JSON objects, found {type(item.note).__name__}")
        try:
            self._packer.envelope(NO_SPOOL, 0, [item])
        except (EnvelopeError, TypeError) as fault:
            raise InputError(str(fault)) from fault

    def _store_rest(self) -> None:
        with self._finishing:
            with self._gathering:
                batch = self._batcher.rest()
            self._blame(self._store(batch))

    def _store_due(self) -> None:
        with self._finishing:
            with self._gathering:
                batch = self._batcher.due(self._clock())
            try:
                self._blame(self._store(batch))
            except SpoolError:
                if any(item.value is not None for item in batch):
                    self._spool.drop()  # their `put` has returned: nobody would count it
                raise

    def _blame(self, faults: Sequence[LocalError]) -> None:
        """Items were left out long after they were put."""
        for fault in faults:
            self._lost = str(fault)
            self._hear(Event("left out", f"left out: {type(fault).__name__}: {fault}"))

    def _store(self, batch: Sequence[Item]) -> list[BudgetError]:
        faults = self._packer.store(self._spool, batch)
        self._courier.wake()
        return faults

    def _missed(self) -> None:
        self._lost = "expected room in the spool, found it full: a packet was dropped"

    def _hear(self, event: Event) -> None:
        LOGGER.log(event.level, event.message)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # the thread that tells it is one that sends
            LOGGER.exception("on_event failed")

    def _tick(self) -> None:
        """Batches whose time has come, packets whose time is over."""
        look_at = self._clock()
        while not self._ended.wait(self._pause()):
            try:
                self._store_due()
                if self._clock() >= look_at:
                    look_at = self._clock() + TICK_SECONDS
                    if self._spool.expire():
                        self._courier.gone()
                    self._say_drops()
            except LocalError as fault:
                if str(fault) != self._lost:
                    self._blame([fault])

    def _say_drops(self) -> None:
        """Say once a minute at most that packets go."""
        dropped, now = self._spool.totals().dropped, self._clock()
        if dropped > self._dropped and now >= self._quiet_until:
            count, self._quiet_until = dropped - self._dropped, now + QUIET_SECONDS
            self._hear(Event("dropping", f"{count} packets were dropped, for want of room or for their age"))
            self._dropped = dropped

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
