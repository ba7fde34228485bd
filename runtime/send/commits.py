"""Changes of a spool's database, several in one transaction, each on the disk when its call returns.

Whoever gets the lock writes for all who wait for it: that is the group commit. Where that fails each change is tried
alone, so that one's fault is not the others'. Where the disk is full, what frees room goes first: the reserve is given
up, the change is written, and the reserve is taken back.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from latentwire.runtime.send.errors import SpoolError, SpoolFullError
from latentwire.runtime.send.reserve import LOG_PAGES, Reserve
from latentwire.runtime.send.schema import named

T = TypeVar("T")

MEND_SECONDS = 10.0
"""Between attempts to make room on a full disk for a new packet."""


class _Write(Generic[T]):
    """A change that waits for its transaction; ``frees`` tells that there is more room after it."""

    def __init__(self, change: Callable[[], T], *, frees: bool) -> None:
        self.change, self.frees = change, frees
        self.result: T
        self.fault: Exception | None = None
        self.done = False


class Commits:
    """Writes changes; safe to use from several threads.

    Args:
        database: open for writing, used by nobody else.
        path: of its file.
        reserve: room that is set aside.
        clock: seconds, never going back.
    """

    def __init__(self, database: sqlite3.Connection, path: Path, reserve: Reserve, clock: Callable[[], float]) -> None:
        self._database, self._path, self._reserve, self._clock = database, path, reserve, clock
        self._lock, self._queueing = threading.Lock(), threading.Lock()
        self._queue: list[_Write[Any]] = []
        self._mend_at = -math.inf
        self.missed = reserve.missed(self._dropped())
        """Packets that went because the disk was full: to be counted on it when it takes something again."""

    def write(self, change: Callable[[], T], *, frees: bool = False) -> T:
        """The result of a change that is on the disk.

        Args:
            change: uses the database, within a transaction.
            frees: whether there is more room after it.

        Raises:
            SpoolError: the disk does not take it; or what the change itself raises.
        """
        write = _Write(change, frees=frees)
        with self._queueing:
            self._queue.append(write)
        with self._lock:
            if not write.done:
                with self._queueing:
                    group, self._queue = self._queue, []
                self._commit(group)
        if write.fault is not None:
            raise write.fault
        return write.result

    def miss(self) -> None:
        """A packet went because the disk is full; that much is kept where no new room is needed for it."""
        with self._lock:
            self.missed += 1
            with suppress(sqlite3.Error):
                self._reserve.note(self._dropped(), self.missed)

    def close(self) -> None:
        """Count what was not counted yet, if the disk takes it, and let go of the file."""
        if self.missed:
            with suppress(SpoolError):  # it stands in the reserve as well
                self.write(lambda: None, frees=True)
        with self._lock:
            self._database.close()

    def _dropped(self) -> int:
        return int(self._database.execute("SELECT dropped FROM totals").fetchone()[0])

    def _counted(self) -> int:
        """Count what went uncounted; returns how many that were."""
        count = self.missed
        if count:
            self._database.execute("UPDATE totals SET next = next + ?, dropped = dropped + ?", (count, count))
        return count

    def _commit(self, group: Sequence[_Write[Any]]) -> None:
        try:
            self._transaction(group)
        except Exception as fault:
            if len(group) > 1:  # each alone, so that one's fault is not the others'
                for write in group:
                    self._commit([write])
                return
            group[0].fault = self._mended(group[0], fault)
        for write in group:
            write.done = True

    def _transaction(self, group: Sequence[_Write[Any]]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            counted = self._counted()
            for write in group:
                write.result = write.change()
            self._database.execute("COMMIT")
        except sqlite3.Error as fault:
            raise named(fault, self._path) from fault
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        self.missed -= counted

    def _mended(self, write: _Write[Any], fault: Exception) -> Exception | None:
        """The fault of a write, or None where the disk was full and it could be written all the same."""
        is_disk = isinstance(fault, SpoolFullError) and isinstance(fault.__cause__, sqlite3.Error)
        if not is_disk or (not write.frees and self._clock() < self._mend_at):
            return fault
        self._mend_at = self._clock() + MEND_SECONDS
        self._reserve.release()
        try:
            if not write.frees:
                self._compact()
                if not self._reserve.keep():  # what is set aside is for what frees
                    return fault
            self._transaction([write])
            self._compact()
        except Exception as second:
            return second
        finally:
            self._reserve.keep()
        return None

    def _compact(self) -> None:
        """Give room back to the disk, as far as it lets us."""
        with suppress(sqlite3.Error):
            self._database.execute(f"PRAGMA incremental_vacuum({LOG_PAGES})").fetchall()
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
