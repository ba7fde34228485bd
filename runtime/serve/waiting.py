"""Which packets wait, codec by codec, and how many of them make the next batch."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from latentwire.runtime.serve.inbox import Entry

SMOOTHING = 0.2
"""Weight of the last batch in a packet's expected time."""


class Pace:
    """How long a packet of one codec takes, as the last batches showed."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def note(self, packets: int, seconds: float) -> None:
        """A batch was done."""
        each = seconds / packets
        self._seconds = each if not self._seconds else (1 - SMOOTHING) * self._seconds + SMOOTHING * each

    def within(self, seconds: float) -> int:
        """Packets that can be expected to be done in that time, at least one."""
        return max(1, int(seconds / self._seconds)) if self._seconds else 1


@dataclass
class _Lane:
    """Packets of one codec: those that wait for their turn, or those that are held."""

    pace: Pace
    entries: deque[Entry] = field(default_factory=deque)
    not_before: float = 0.0


class Waiting:
    """Entries in the order of their arrival; workers take batches of one codec.

    What this machine could not decode is held: it waits in a lane of its own, with pauses of its own, and each of these
    packets is taken alone.

    Args:
        workers: how many take.
        most: packets of a batch.
        seconds: that a batch may take.
        work: bytes of items that may be worked on at the same time; a single packet may have more.
    """

    def __init__(self, workers: int, most: int, seconds: float, work: int) -> None:
        self._workers, self._most, self._seconds, self._work = workers, most, seconds, work
        self._lanes: dict[tuple[bytes, bool], _Lane] = {}
        self._paces: dict[bytes, Pace] = {}
        self._changed = threading.Condition()
        self._in_work = 0
        self._busy = 0
        self._not_before = 0.0
        self._closed = False

    def __len__(self) -> int:
        with self._changed:
            return sum(len(lane.entries) for lane in self._lanes.values())

    @property
    def is_crowded(self) -> bool:
        """Whether there is more to do than one batch."""
        with self._changed:
            return self._busy > 1 or any(lane.entries for lane in self._lanes.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """These wait too."""
        with self._changed:
            for entry in entries:
                self._lane(entry).entries.append(entry)
            self._changed.notify_all()

    def give_back(self, entries: Iterable[Entry]) -> None:
        """These were taken and wait again, before all others."""
        with self._changed:
            for entry in sorted(entries, key=lambda entry: -entry.id):
                self._lane(entry).entries.appendleft(entry)
            self._changed.notify_all()

    def hold(self, batch: Sequence[Entry], seconds: float) -> None:
        """These were taken and could not be decoded: they wait again, held; others like them pause for that long."""
        until = time.monotonic() + seconds
        held = [replace(entry, held=True) for entry in batch]
        with self._changed:
            for lane in (self._lane(batch[0]), self._lane(held[0])):
                lane.not_before = max(lane.not_before, until)
            self._lane(held[0]).entries.extend(held)
            self._changed.notify_all()

    def resume(self, codec: bytes) -> None:
        """Packets of that codec can be decoded again: its pauses are over."""
        with self._changed:
            for held in (False, True):
                if (codec, held) in self._lanes:
                    self._lanes[codec, held].not_before = 0.0
            self._changed.notify_all()

    def _lane(self, entry: Entry) -> _Lane:
        key = (entry.codec, entry.held)
        if key not in self._lanes:
            self._lanes[key] = _Lane(self._paces.setdefault(entry.codec, Pace()))
        return self._lanes[key]

    def pause(self, seconds: float) -> None:
        """Nobody takes anything for that long."""
        with self._changed:
            self._not_before = time.monotonic() + seconds

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[Entry]:
        """The next batch, all of the codec whose turn it is; waits for one. Empty when closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                batch = self._batch(now)
                if batch:
                    self._busy += 1
                    self._in_work += sum(entry.work for entry in batch)
                    return batch
                self._changed.wait(self._pause(now))
            return []

    def _pause(self, now: float) -> float | None:
        """Seconds until a pause is over that something waits for; None where nothing does."""
        ends = [max(lane.not_before, self._not_before) for lane in self._lanes.values() if lane.entries]
        return min((end - now for end in ends if end > now), default=None)

    def done(self, batch: list[Entry], seconds: float | None = None) -> None:
        """The batch is no longer in work; it took ``seconds``, None where that says nothing."""
        with self._changed:
            self._busy -= 1
            self._in_work -= sum(entry.work for entry in batch)
            if seconds is not None:
                self._paces[batch[0].codec].note(len(batch), seconds)
            self._changed.notify_all()

    def _batch(self, now: float) -> list[Entry]:
        if now < self._not_before:
            return []
        lanes = [lane for lane in self._lanes.values() if lane.entries and lane.not_before <= now]
        if not lanes:
            return []
        chosen = min(lanes, key=lambda lane: lane.entries[0].id)
        room = self._work - self._in_work
        if self._busy and chosen.entries[0].work > room:
            return []
        count = self._fitting(chosen.entries, self._count(chosen), room)
        return [chosen.entries.popleft() for _ in range(count)]

    def _count(self, chosen: _Lane) -> int:
        """A fair share of what waits, so that every worker has something; no more than is done in time."""
        if chosen.entries[0].is_alone:
            return 1
        share = math.ceil(len(chosen.entries) / (self._workers - self._busy))
        return min(share, self._most, chosen.pace.within(self._seconds))

    def _fitting(self, chosen: deque[Entry], count: int, room: int) -> int:
        """The first of them whose results have room together; at least one."""
        total, fitting = 0, 0
        for entry in islice(chosen, count):
            total += entry.work
            if fitting and (total > room or entry.is_alone):
                break
            fitting += 1
        return fitting
