"""The spool: packets on the disk between encoding and the server's acknowledgement. Nothing is sent here.

Every change is a transaction of SQLite (write-ahead log, synchronous=FULL), on the disk when the call returns. Changes
of several threads that arrive while the disk is busy share one transaction, and so one fsync: whoever gets the lock
writes for all who wait. Where that fails each is tried alone, so that one's fault is not the others'.

What always holds: sent + waiting + refused + dropped is all that was ever put, since a packet is counted where it
changes. No sequence is given twice: it is taken in the transaction that stores its packet, and a packet that finds no
room uses one up. How far a file was taken is stored with the packet that took it so far. One process has the spool, by
a lock that ends with it.

Where the disk is full, what frees room goes first: the reserve is given up, the change is written, and the reserve is
taken back. A new packet gets in only if the reserve can stay.

    killed before the COMMIT of `add`   the packet was never put; items of a file are taken again
    after it                            it will be sent
    sent, before the COMMIT of `remove` sent again under the same name: to the server a duplicate
    while a new spool is made           it has a temporary name until it is whole (`schema`)
    while the reserve is given up       the next opening takes it back

Lost by a kill are two numbers: how many packets went on a full disk since the last transaction, and the time since
then, which makes packets younger than they are.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.errors import SpoolError, SpoolFullError, SpoolInUseError
from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.reserve import LOG_PAGES, Reserve
from latentwire.runtime.send.schema import check_owner, connect, create, named
from latentwire.runtime.send.view import TOTALS, Totals, parcel_of

T = TypeVar("T")

Policy = Literal["oldest", "newest", "stop"]
POLICIES: tuple[Policy, ...] = ("oldest", "newest", "stop")
MEND_SECONDS = 10.0
"""Between attempts to make room on a full disk for a new packet."""
_WAITING = "SELECT fields, body FROM packets WHERE error IS NULL AND sequence > ? ORDER BY sequence LIMIT ?"
_ADD = "INSERT INTO packets (sequence, bytes, born, fields, body) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Bounds:
    """How much a spool holds.

    Args:
        bytes: of packets and envelopes, refused ones included.
        seconds: that a packet is kept, counted while the spool is open; None for ever. No clock can make it jump.
        policy: what goes when there is no room: the oldest packets, the newest one, or none: `stop` makes it an error.
            Where the disk is full nothing can be exchanged: then the newest one goes under both policies.

    Raises:
        SettingError: a bound that is not above 0, or another policy.
    """

    bytes: int = 1 << 28
    seconds: float | None = None
    policy: Policy = "oldest"

    def __post_init__(self) -> None:
        if self.bytes < 1 or (self.seconds is not None and not self.seconds > 0):
            raise SettingError(f"expected bounds of a spool above 0, found {self.bytes} bytes and {self.seconds} s")
        if self.policy not in POLICIES:
            raise SettingError(f"expected a policy of {', '.join(POLICIES)}, found {self.policy!r}")


@dataclass(frozen=True)
class Mark:
    """How far a file has been taken: it is stored with the packet that took it so far, or not at all.

    Args:
        path: of the file.
        stamp: its size and time; another stamp is another file.
        done: items that are in packets.
        whole: those were all.
    """

    path: str
    stamp: str
    done: int
    whole: bool


class _Write(Generic[T]):
    """A change that waits for its transaction; ``frees`` tells that there is more room after it."""

    def __init__(self, change: Callable[[], T], *, frees: bool) -> None:
        self.change, self.frees = change, frees
        self.result: T
        self.fault: Exception | None = None
        self.done = False


class Spool:
    """An open spool; safe to use from several threads.

    Args:
        path: of the file; made where there is none.
        codec: id of the codec whose packets it holds.
        device: name of the sender.
        bounds: how much it holds.
        clock: seconds, never going back.

    Raises:
        SpoolInUseError: another process, or this one, has it open.
        SpoolMismatchError: it is of another codec or device.
        SpoolDamagedError: it is no spool, or a damaged one.
        SpoolError: it cannot be read or written.
    """

    def __init__(
        self,
        path: str | Path,
        codec: str,
        device: str,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.device, self.bounds = Path(path), device, bounds or Bounds()
        self._clock = clock
        self._lock, self._reading, self._queueing = threading.Lock(), threading.Lock(), threading.Lock()
        self._queue: list[_Write[Any]] = []
        self._uncounted = 0
        """Packets that went because the disk was full: to be counted on it when it takes something again."""
        self._owner = _own(self.path)
        try:
            if not self.path.exists():
                create(self.path, codec, device)
            self._database = _writer(self.path)
            try:
                self.id = check_owner(self._database, self.path, codec, device)
                self._reader = connect(self.path)
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._owner.close()
            raise
        self._reserve, self._mend_at = Reserve(self.path.with_name(f"{self.path.name}.reserve")), -math.inf
        self._reserve.keep()
        before: int = self._database.execute("SELECT clock FROM totals").fetchone()[0]
        self._began = clock() - before / 1000

    def add(self, make: Callable[[int], Parcel], marks: Sequence[Mark] = ()) -> int | None:
        """Store a packet; returns its sequence, or None where it is the one that goes for want of room.

        Args:
            make: sequence -> packet; called within the transaction.
            marks: of the files whose items are in it.

        Raises:
            SpoolFullError: no room, and the policy is `stop`.
            SpoolError: the disk does not take it.
        """
        try:
            return self._write(lambda: self._added(make, marks))
        except SpoolFullError:
            if self.bounds.policy == "stop":
                raise
            with self._queueing:
                self._uncounted += 1
            return None

    def waiting(self, after: int, count: int) -> list[Parcel]:
        """The next packets that wait, with sequences above ``after``."""
        return [parcel_of(*row) for row in self._read(_WAITING, after, count)]

    def remove(self, sequences: Sequence[int]) -> None:
        """The server has acknowledged packets."""
        change = "sequence = ?"
        self._write(lambda: sum(self._deleted(change, each, "sent") for each in sequences), frees=True)

    def refuse(self, sequence: int, error: str, message: str) -> None:
        """The server has refused a packet for good."""
        change = "UPDATE packets SET error = ?, message = ? WHERE sequence = ? AND error IS NULL"
        self._write(lambda: self._database.execute(change, (error, message, sequence)), frees=True)

    def expire(self) -> int:
        """Drop packets that are too old; returns how many."""
        if self.bounds.seconds is None:
            return 0
        born = self._now() - round(1000 * self.bounds.seconds)
        return self._write(lambda: self._deleted("born < ?", born, "dropped"), frees=True)

    def totals(self) -> Totals:
        """What became of all packets."""
        found = Totals(*self._read(TOTALS)[0])
        return replace(found, dropped=found.dropped + self._uncounted)

    def progress(self, path: str) -> Mark | None:
        """How far a file has been taken; None where nothing is known of it."""
        rows = self._read("SELECT path, stamp, done, whole FROM taken WHERE path = ?", path)
        return Mark(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def forget_missing(self, folder: str) -> None:
        """Forget what was taken from a folder and is no longer there."""
        paths = [path for (path,) in self._read("SELECT path FROM taken")]
        gone = [path for path in paths if Path(path).parent == Path(folder) and not Path(path).exists()]
        if gone:
            self._write(lambda: self._database.executemany("DELETE FROM taken WHERE path = ?", [(p,) for p in gone]))

    def close(self) -> None:
        """Everything is on the disk already; let go of the file."""
        with self._lock, self._reading:
            self._reader.close()
            self._database.close()
            self._owner.close()

    def _added(self, make: Callable[[int], Parcel], marks: Sequence[Mark]) -> int | None:
        (sequence,) = self._database.execute("SELECT next FROM totals").fetchone()
        parcel = make(sequence)
        fields = json.dumps(parcel.envelope.to_fields())
        size = len(fields) + len(parcel.body)
        kept = self._made_room(size)
        if kept:
            row = (sequence, size, self._now(), fields, parcel.body)
            self._database.execute(
                "INSERT INTO packets (sequence, bytes, born, fields, body) VALUES (?, ?, ?, ?, ?)", row
            )
        self._marked(marks)
        change = "UPDATE totals SET next = next + 1, clock = ?, dropped = dropped + ?"
        self._database.execute(change, (self._now(), not kept))
        return sequence if kept else None

    def _made_room(self, size: int) -> bool:
        """Whether there is room for so many bytes, now that others may have gone: refused ones before any that wait."""
        excess = Totals(*self._database.execute(TOTALS).fetchone()).bytes + size - self.bounds.bytes
        if excess <= 0:
            return True
        policy = self.bounds.policy
        if policy == "stop":
            raise SpoolFullError(
                f"expected room for {size} bytes within the {self.bounds.bytes} of {self.path}, found it full: "
                "let it drain, raise its bound, or let packets go (policy oldest or newest)"
            )
        if size > self.bounds.bytes:
            return False
        excess = self._freed(excess, "error IS NOT NULL")
        if excess > 0 and policy == "oldest":
            excess = self._freed(excess, "error IS NULL")
        return excess <= 0

    def _freed(self, excess: int, which: str) -> int:
        """Drop packets, the oldest ones first, until ``excess`` bytes are free; returns how many still are not."""
        last = None
        for sequence, size in self._database.execute(
            f"SELECT sequence, bytes FROM packets WHERE {which} ORDER BY sequence"
        ):
            if excess <= 0:
                break
            last, excess = sequence, excess - size
        if last is not None:
            self._deleted(f"{which} AND sequence <= ?", last, "dropped")
        return excess

    def _deleted(self, which: str, value: int, count_as: str) -> int:
        gone = self._database.execute(f"DELETE FROM packets WHERE {which}", (value,)).rowcount
        self._database.execute(f"UPDATE totals SET {count_as} = {count_as} + ?, clock = ?", (gone, self._now()))
        return int(gone)

    def _marked(self, marks: Iterable[Mark]) -> None:
        self._database.executemany("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", map(astuple, marks))

    def _now(self) -> int:
        """Milliseconds that this spool has been open, over all processes."""
        return round(1000 * (self._clock() - self._began))

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.Error as fault:
                raise named(fault, self.path) from fault

    def _write(self, change: Callable[[], T], *, frees: bool = False) -> T:
        """The result of a change that is on the disk.

        Whoever gets the lock writes for all who wait for it: that is the group commit.
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

    def _counted(self) -> int:
        """Count what went uncounted; returns how many that were."""
        count = self._uncounted
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
            raise named(fault, self.path) from fault
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        with self._queueing:
            self._uncounted -= counted

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


def _own(path: Path) -> sqlite3.Connection:
    """Nobody else may open the spool until this is closed, or the process ends, however it ends.

    It is a lock on a file beside it, SQLite's own kind, which all systems have: the spool itself stays readable.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        owner = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as fault:
        raise SpoolError(f"expected a folder for {lock} that can be written to, found: {fault}") from fault
    try:
        owner.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as fault:
        owner.close()
        if "locked" not in str(fault):
            raise named(fault, lock) from fault
        raise SpoolInUseError(f"expected {path} to be free, found another sender that has it open: end it") from fault
    return owner


def _writer(path: Path) -> sqlite3.Connection:
    database = connect(path)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    except sqlite3.Error as fault:
        database.close()
        raise named(fault, path) from fault
    return database
