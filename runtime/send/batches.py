"""Items gathered to packets by count, by time, and by what an envelope holds. Pure: the time is an argument.

Items that are left out take part as holes: no value, but how far their file was taken, and how many they are. So a
file's marks are stored in the order of its items, whatever becomes of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.spool import NOTHING, Mark, Tally
from latentwire.runtime.wire import MAX_FIELD, Notes


@dataclass(frozen=True)
class Item:
    """One item on its way into a packet, or a hole.

    Args:
        value: without the axis of the items; a picture as it is; None for items that were left out.
        time: when it was taken, milliseconds since 1970-01-01 UTC.
        note: what travels beside it.
        mark: how far its file has been taken with it.
        tally: what was done to it; how many a hole stands for.
    """

    value: Array | None
    time: int
    note: Notes = None
    mark: Mark | None = None
    tally: Tally = NOTHING


def marks_of(items: Iterable[Item]) -> tuple[Mark, ...]:
    """How far each file has been taken with these items; those left out are counted together."""
    found: dict[str, Mark] = {}
    for mark in (item.mark for item in items if item.mark is not None):
        before = found.get(mark.path)
        left_out = before.left_out if before is not None and before.stamp == mark.stamp else 0
        found[mark.path] = replace(mark, left_out=mark.left_out + left_out)
    return tuple(found.values())


def tally_of(items: Iterable[Item]) -> Tally:
    """What was done to these items."""
    found = NOTHING
    for item in items:
        found = Tally(found.clipped + item.tally.clipped, found.skipped + item.tally.skipped)
    return found


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
        self._count = self._times_bytes = self._notes_bytes = self._last_time = 0
        self.deadline: float | None = None
        """When the items that wait are to go, in seconds of the clock that `add` was told."""

    @property
    def count(self) -> int:
        """Items that wait, without holes."""
        return self._count

    def add(self, items: Sequence[Item], now: float) -> list[tuple[Item, ...]]:
        """Take items; returns the batches that are complete."""
        complete = []
        for item in items:
            if self._count and not self._fits(item):
                complete.append(self.rest())
            self._take(item, now)
            if self._count == self._most:
                complete.append(self.rest())
        return complete

    def rest(self) -> tuple[Item, ...]:
        """The items that wait, which no longer do; perhaps holes alone."""
        items, self._items = tuple(self._items), []
        self._count = self._times_bytes = self._notes_bytes = self._last_time = 0
        self.deadline = None
        return items

    def due(self, now: float) -> tuple[Item, ...]:
        """The items that wait, if they have waited long enough; else none."""
        return self.rest() if self.deadline is not None and now >= self.deadline else ()

    def _take(self, item: Item, now: float) -> None:
        if not self._items and self._seconds is not None:
            self.deadline = now + self._seconds
        if item.value is None:
            self._take_hole(item)
            return
        self._times_bytes += self._time_bytes(item)
        self._notes_bytes += _note_bytes(item)
        self._count, self._last_time = self._count + 1, item.time
        self._items.append(item)

    def _take_hole(self, hole: Item) -> None:
        """Holes behind each other, of one file or of none, are one: a sensor that is broken fills no memory."""
        last = self._items[-1] if self._items else None
        if last is not None and last.value is None and _path(last) == _path(hole):
            both = (self._items.pop(), hole)
            hole = replace(hole, mark=next(iter(marks_of(both)), None), tally=tally_of(both))
        self._items.append(hole)

    def _fits(self, item: Item) -> bool:
        """Whether times and notes still fit into the envelope's fields with it."""
        if item.value is None:
            return True
        times, notes = self._times_bytes + self._time_bytes(item), self._notes_bytes + _note_bytes(item)
        return max(times, notes + len("[]")) <= MAX_FIELD

    def _time_bytes(self, item: Item) -> int:
        return len(f"{item.time - self._last_time},")


def _path(item: Item) -> str | None:
    return None if item.mark is None else item.mark.path


def _note_bytes(item: Item) -> int:
    return len(json.dumps(item.note, separators=(",", ":"))) + len(",")
