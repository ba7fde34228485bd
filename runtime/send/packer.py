"""Batches of items become packets in the spool, at the quality that the spool's fill allows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import BudgetError, EnvelopeError, KeyFileError, SettingError
from latentwire.runtime.send.batches import Item, marks_of, tally_of
from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.rate import QualityControl, Rate
from latentwire.runtime.send.spool import Spool
from latentwire.runtime.wire import OVERHEAD, Envelope, Keys

NO_SPOOL = "0" * 32


class Packer:
    """Makes packets and seals them; safe to use from several threads.

    Args:
        encoder: of the items.
        device: name of the sender.
        rate: quality and bytes.
        keys: to seal with; None seals nothing.
        seal: name of the key.
        miss: is told when a packet found no room and went.

    Raises:
        SettingError: a name or a quality that makes no sense.
        KeyFileError: there is no key of that name.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: str,
        rate: Rate,
        keys: Keys | None,
        seal: str | None,
        miss: Callable[[], None],
    ) -> None:
        self._encoder, self._device, self._keys, self._miss = encoder, device, keys, miss
        self._seal = None if keys is None else seal or device
        default = encoder.default_quality if rate.max_bytes is None else 255
        self._quality = QualityControl(default if rate.quality is None else rate.quality, rate.lowest)
        self._max_bytes = rate.max_bytes
        if rate.max_bytes is not None and keys is not None:
            self._max_bytes = max(1, rate.max_bytes - OVERHEAD)
        self._lock = threading.Lock()
        self._check_names()

    @property
    def quality(self) -> int:
        """Of the next packet, at most."""
        return self._quality.quality

    def envelope(self, spool: str, sequence: int, items: Sequence[Item]) -> Envelope:
        """What travels beside a packet of these items.

        Raises:
            EnvelopeError: a time or a note that it cannot hold.
        """
        times, notes = tuple(item.time for item in items), tuple(item.note for item in items)
        return Envelope(self._device, spool, sequence, times, notes, self._seal)

    def store(self, spool: Spool, batch: Sequence[Item]) -> list[BudgetError]:
        """Encode a batch and put it into the spool; one that exceeds the bytes of a packet becomes several.

        Returns:
            What was wrong with items that do not fit alone; they are left out.

        Raises:
            SpoolError: the packet cannot be stored.
        """
        real = [item for item in batch if item.value is not None]
        if not real:
            if batch:
                spool.note(marks_of(batch), tally_of(batch))
            return []
        fill = spool.totals().bytes / spool.bounds.bytes
        with self._lock:
            quality = self._quality.update(fill)
        try:
            packet = self._encoded([item.value for item in real if item.value is not None], quality)
        except BudgetError as fault:
            if len(batch) == 1:
                return [_left_out(spool, batch[0], fault)]
            middle = len(batch) // 2
            return self.store(spool, batch[:middle]) + self.store(spool, batch[middle:])
        if spool.add(partial(self._parcel, packet, real), marks_of(batch), tally_of(batch)) is None:
            self._miss()
        return []

    def reseal(self, parcel: Parcel, envelope: Envelope) -> bytes:
        """A packet's body under another envelope; see `Spool.rename`.

        Raises:
            KeyFileError, SealError: it is sealed, and the key is not here.
        """
        if parcel.envelope.seal is None:
            return parcel.body
        if self._keys is None:
            raise KeyFileError(
                f"expected the key {parcel.envelope.seal!r}, since a sealed packet needs another name, found no keys: "
                "name the file of keys, and put the packet back (spool --retry)"
            )
        return self._keys.seal(self._keys.open(parcel.body, parcel.envelope), envelope)

    def _check_names(self) -> None:
        """What will travel in every envelope can."""
        try:
            envelope = self.envelope(NO_SPOOL, 0, ())
        except EnvelopeError as fault:
            raise SettingError(f"{fault}: choose another name") from fault
        if self._keys is not None:
            self._keys.seal(b"", envelope)

    def _encoded(self, values: Sequence[Array], quality: int) -> bytes:
        items = np.stack(values) if self._encoder.batches else values[0]
        return self._encoder.encode(items, quality, max_bytes=self._max_bytes)

    def _parcel(self, packet: bytes, items: Sequence[Item], spool: str, sequence: int) -> Parcel:
        envelope = self.envelope(spool, sequence, items)
        return Parcel(envelope, packet if self._keys is None else self._keys.seal(packet, envelope))


def _left_out(spool: Spool, item: Item, fault: BudgetError) -> BudgetError:
    """Count an item that no packet takes; returns its fault, with its place where it came from a file."""
    tally = replace(item.tally, skipped=item.tally.skipped + 1)
    if item.mark is None:
        spool.note((), tally)
        return fault
    spool.note((replace(item.mark, left_out=item.mark.left_out + 1),), tally)
    named = BudgetError(f"item {item.mark.done - 1} of {Path(item.mark.path).name}: {fault}")
    named.file, named.place = item.mark.path, {"item": item.mark.done - 1}
    return named
