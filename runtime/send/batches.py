"""Items gathered to packets by count, by time, and by what an envelope holds. Pure: the time is an argument."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.spool import Mark
from latentwire.runtime.wire import MAX_FIELD, Notes


@dataclass(frozen=True)
class Item:
    """One item on its way into a packet.

    Args:
        value: without the axis of the items; a picture as it is.
        time: when it was taken, milliseconds since 1970-01-01 UTC.
        note: what travels beside it.
        mark: how far its file has been taken with it.
    """

    value: Array
    time: int
    note: Notes = None
    mark: Mark | None = None


class Batcher:
    """Gathers items.

    Args:
        count: items of a packet.
        seconds: that the first item of a packet waits at most; None for ever.

    Raises:
        SettingError: a count below 1, or no time at all.
    """

    def __init__(self, count: int, seconds: float | None = None) -> None:
        if count < 1 or (seconds is not None and not seconds > 0):
            raise SettingError(f"expected a batch from 1 item and of more than 0 s, found {count} and {seconds}")
        self._most, self._seconds = count, seconds
        self._items: list[Item] = []
        self._times_bytes = self._notes_bytes = 0
        self.deadline: float | None = None
        """When the items that wait are to go, in seconds of the clock that `add` was told."""

    @property
    def count(self) -> int:
        """Items that wait."""
        return len(self._items)

    def add(self, items: Sequence[Item], now: float) -> list[tuple[Item, ...]]:
        """Take items; returns the batches that are complete."""
        complete = []
        for item in items:
            if self._items and not self._fits(item):
                complete.append(self.rest())
            self._take(item, now)
            if len(self._items) == self._most:
                complete.append(self.rest())
        return complete

    def rest(self) -> tuple[Item, ...]:
        """The items that wait, which no longer do."""
        items, self._items = tuple(self._items), []
        self._times_bytes = self._notes_bytes = 0
        self.deadline = None
        return items

    def due(self, now: float) -> tuple[Item, ...]:
        """The items that wait, if they have waited long enough; else none."""
        return self.rest() if self.deadline is not None and now >= self.deadline else ()

    def _take(self, item: Item, now: float) -> None:
        if not self._items and self._seconds is not None:
            self.deadline = now + self._seconds
        self._times_bytes += self._time_bytes(item)
        self._notes_bytes += _note_bytes(item)
        self._items.append(item)

    def _fits(self, item: Item) -> bool:
        """Whether times and notes still fit into the envelope's fields with it."""
        times, notes = self._times_bytes + self._time_bytes(item), self._notes_bytes + _note_bytes(item)
        return max(times, notes + len("[]")) <= MAX_FIELD

    def _time_bytes(self, item: Item) -> int:
        before = self._items[-1].time if self._items else 0
        return len(f"{item.time - before},")


def _note_bytes(item: Item) -> int:
    return len(json.dumps(item.note, separators=(",", ":"))) + len(",")
