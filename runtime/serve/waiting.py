"""Which packets wait, codec by codec, and how many of them make the next batch."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
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


class Waiting:
    """Entries in the order of their arrival; workers take batches of one codec.

    Args:
        workers: how many take.
        most: packets of a batch.
        seconds: that a batch may take.
        work: bytes that everything in work may decode to; a single packet may have more.
    """

    def __init__(self, workers: int, most: int, seconds: float, work: int) -> None:
        self._workers, self._most, self._seconds, self._work = workers, most, seconds, work
        self._queues: dict[bytes, deque[Entry]] = {}
        self._paces: dict[bytes, Pace] = {}
        self._changed = threading.Condition()
        self._in_work = 0
        self._busy = 0
        self._not_before = 0.0
        self._closed = False

    def __len__(self) -> int:
        with self._changed:
            return sum(map(len, self._queues.values()))

    @property
    def is_crowded(self) -> bool:
        """Whether there is more to do than one batch."""
        with self._changed:
            return self._busy > 1 or any(self._queues.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """These wait too."""
        with self._changed:
            for entry in entries:
                self._queue(entry.codec).append(entry)
            self._changed.notify_all()

    def give_back(self, entries: Iterable[Entry]) -> None:
        """These were taken and wait again, before all others."""
        with self._changed:
            for entry in sorted(entries, key=lambda entry: -entry.id):
                self._queue(entry.codec).appendleft(entry)
            self._changed.notify_all()

    def _queue(self, codec: bytes) -> deque[Entry]:
        self._paces.setdefault(codec, Pace())
        return self._queues.setdefault(codec, deque())

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
                pause = self._not_before - time.monotonic()
                batch = self._batch() if pause <= 0 else []
                if batch:
                    self._busy += 1
                    self._in_work += sum(entry.output for entry in batch)
                    return batch
                self._changed.wait(pause if pause > 0 else None)
            return []

    def done(self, batch: list[Entry], seconds: float | None = None) -> None:
        """The batch is no longer in work; it took ``seconds``, None where that says nothing."""
        with self._changed:
            self._busy -= 1
            self._in_work -= sum(entry.output for entry in batch)
            if seconds is not None:
                self._paces[batch[0].codec].note(len(batch), seconds)
            self._changed.notify_all()

    def _batch(self) -> list[Entry]:
        queues = [found for found in self._queues.values() if found]
        if not queues:
            return []
        chosen = min(queues, key=lambda found: found[0].id)
        room = self._work - self._in_work
        if self._busy and chosen[0].output > room:
            return []
        count = self._fitting(chosen, self._count(chosen), room)
        return [chosen.popleft() for _ in range(count)]

    def _count(self, chosen: deque[Entry]) -> int:
        """A fair share of what waits, so that every worker has something; no more than is done in time."""
        if chosen[0].attempts:
            return 1  # it may be what ended the service: it must not take others with it
        share = math.ceil(len(chosen) / (self._workers - self._busy))
        return min(share, self._most, self._paces[chosen[0].codec].within(self._seconds))

    def _fitting(self, chosen: deque[Entry], count: int, room: int) -> int:
        """The first of them whose results have room together; at least one."""
        total, fitting = 0, 0
        for entry in islice(chosen, count):
            total += entry.output
            if fitting and (total > room or entry.attempts):
                break
            fitting += 1
        return fitting
