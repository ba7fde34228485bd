"""The spool: packets on the disk between encoding and the server's acknowledgement. Nothing is sent here.

Every change is a transaction of SQLite (write-ahead log, synchronous=FULL), on the disk when the call returns. Changes
of several threads that arrive while the disk is busy share one, and so one fsync (`commits`).

What always holds: sent + waiting + refused + dropped is all that was ever put, since a packet is counted where it
changes. No sequence is given twice: it is taken in the transaction that stores its packet, and a packet that finds no
room uses one up. How far a file was taken is stored with the packet that took it so far. One process has the spool, by
a lock that ends with it.

Where the disk is full, what frees room goes first, at the cost of the reserve. A new packet gets in only if the reserve
can stay; one that does not is counted in the reserve's head until the spool can be written again.

A spool may be one of several copies: of an SD card's image, of a snapshot. Both copies then give the same names to
different packets. The server takes the first of a name, calls the same bytes a duplicate and other bytes a conflict. A
packet in conflict is one that the server does not have, so it gets another name, in one transaction: the first time
with a spool id that is drawn anew and is this spool's from then on. Packets that wait keep their names until the server
has spoken of each: it may have one already, sent by the copy or by a process that was killed, and under another name
it would have it twice.

    killed before the COMMIT of `add`   the packet was never put; items of a file are taken again
    after it                            it will be sent
    sent, before the COMMIT of `remove` sent again under the same name: to the server a duplicate
    while a new spool is made           it has a temporary name until it is whole (`schema`)
    while the reserve is given up       the next opening takes it back
    before the COMMIT of `rename`       sent again under the old name, which is a conflict again
    after it                            sent under the new name

Lost by a kill is one number: the time since the last transaction, which makes packets younger than they are.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from latentwire.runtime.errors import LatentwireError, SettingError
from latentwire.runtime.send.commits import Commits
from latentwire.runtime.send.errors import SpoolFullError
from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.reserve import Reserve
from latentwire.runtime.send.schema import check_owner, connect, create, named, own, writer
from latentwire.runtime.send.view import TOTALS, Totals, parcel_of
from latentwire.runtime.wire import Envelope

Policy = Literal["oldest", "newest", "stop"]
POLICIES: tuple[Policy, ...] = ("oldest", "newest", "stop")
CONFLICT = "NameConflict"
"""Reason of a packet that is kept aside because it cannot get the other name that it needs."""
_WAITING = "SELECT fields, body FROM packets WHERE error IS NULL AND sequence > ? ORDER BY sequence LIMIT ?"
_ONE = "SELECT fields, body FROM packets WHERE sequence = ?"
_REFUSE = "UPDATE packets SET error = ?, message = ? WHERE sequence = ? AND error IS NULL"
_PROGRESS = "SELECT stamp, done, whole, left_out FROM taken WHERE path = ?"
_TAKEN = """INSERT INTO taken (path, stamp, done, whole, left_out) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET stamp = excluded.stamp, done = excluded.done, whole = excluded.whole,
        left_out = excluded.left_out + CASE stamp WHEN excluded.stamp THEN left_out ELSE 0 END"""
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
        done: items that are in packets, or were left out.
        whole: those were all.
        left_out: items that cannot be sent and were reported, so that the file is not removed; they add up.
    """

    path: str
    stamp: str
    done: int
    whole: bool
    left_out: int = 0


@dataclass(frozen=True)
class Tally:
    """Items that were not sent as they were: counted in the transaction that stores what is left of them.

    Args:
        clipped: moved into the contract's range.
        skipped: left out.
    """

    clipped: int = 0
    skipped: int = 0


NOTHING = Tally()


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
        self._reading = threading.Lock()
        reserve = Reserve(self.path.with_name(f"{self.path.name}.reserve"))
        self._owner = own(self.path)
        try:
            if not self.path.exists():
                create(self.path, codec, device)
            self._database = writer(self.path, reserve)
            try:
                check_owner(self._database, self.path, codec, device)
                self._reader = connect(self.path)
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._owner.close()
            raise
        self._commits = Commits(self._database, self.path, reserve, clock)
        self._write = self._commits.write
        reserve.keep()
        before: int = self._database.execute("SELECT clock FROM totals").fetchone()[0]
        self._began = clock() - before / 1000

    @property
    def id(self) -> str:
        """128 random bits that name it; others after a conflict."""
        return str(self._read("SELECT id FROM totals")[0][0])

    def add(self, make: Callable[[str, int], Parcel], marks: Sequence[Mark] = (), tally: Tally = NOTHING) -> int | None:
        """Store a packet; returns its sequence, or None where it is the one that goes for want of room.

        Args:
            make: spool's id, sequence -> packet; called within the transaction.
            marks: of the files whose items are in it.
            tally: of items on the way into it.

        Raises:
            SpoolFullError: no room, and the policy is `stop`.
            SpoolError: the disk does not take it.
        """
        try:
            return self._write(lambda: self._added(make, marks, tally))
        except SpoolFullError:
            if self.bounds.policy == "stop":
                raise
            self._commits.miss()
            return None

    def note(self, marks: Sequence[Mark], tally: Tally) -> None:
        """Store what became of items of which nothing is left for a packet.

        On a full disk it is not: then items of files are taken again at the next start.

        Raises:
            SpoolFullError: no room on the disk, and the policy is `stop`.
            SpoolError: the disk does not take it.
        """
        try:
            self._write(lambda: self._noted(marks, tally))
        except SpoolFullError:
            if self.bounds.policy == "stop":
                raise

    def drop(self) -> None:
        """Count a packet that could not be stored and is gone."""
        try:
            self._write(lambda: self._database.execute("UPDATE totals SET next = next + 1, dropped = dropped + 1"))
        except SpoolFullError:
            self._commits.miss()

    def waiting(self, after: int, count: int) -> list[Parcel]:
        """The next packets that wait, with sequences above ``after``."""
        return [parcel_of(*row) for row in self._read(_WAITING, after, count)]

    def remove(self, sequences: Sequence[int]) -> None:
        """The server has acknowledged packets."""
        change = "sequence = ?"
        self._write(lambda: sum(self._deleted(change, each, "sent") for each in sequences), frees=True)

    def refuse(self, sequence: int, error: str, message: str) -> None:
        """The server has refused a packet for good."""
        self._write(lambda: self._database.execute(_REFUSE, (error, message, sequence)), frees=True)

    def rename(self, sequence: int, reseal: Callable[[Parcel, Envelope], bytes]) -> str | None:
        """Give a packet another name, since the server has other content under the one that it has.

        Args:
            sequence: of a packet that waits; it stays the same.
            reseal: packet, its new envelope -> its body under that; a `LocalError` or `RemoteError` where that cannot
                be: then the packet is kept aside like a refused one.

        Returns:
            The spool's id in its new name; empty where it is kept aside, None where it is gone.
        """
        return self._write(lambda: self._renamed(sequence, reseal), frees=True)

    def expire(self) -> int:
        """Drop packets that are too old; returns how many."""
        if self.bounds.seconds is None:
            return 0
        born = self._now() - round(1000 * self.bounds.seconds)
        return self._write(lambda: self._deleted("born < ?", born, "dropped"), frees=True)

    def totals(self) -> Totals:
        """What became of all packets."""
        found = Totals(*self._read(TOTALS)[0])
        return replace(found, dropped=found.dropped + self._commits.missed)

    def progress(self, path: str) -> Mark | None:
        """How far a file has been taken; None where nothing is known of it."""
        rows = self._read(_PROGRESS, path)
        if not rows:
            return None
        stamp, done, whole, left_out = rows[0]
        return Mark(path, stamp, done, bool(whole), left_out)

    def forget_missing(self, folder: str) -> None:
        """Forget what was taken from a folder and is no longer there."""
        paths = [path for (path,) in self._read("SELECT path FROM taken")]
        gone = [path for path in paths if Path(path).parent == Path(folder) and not Path(path).exists()]
        if gone:
            self._write(lambda: self._database.executemany("DELETE FROM taken WHERE path = ?", [(p,) for p in gone]))

    def close(self) -> None:
        """Everything is on the disk already; let go of the file."""
        with self._reading:
            self._commits.close()
            self._reader.close()
            self._owner.close()

    def _added(self, make: Callable[[str, int], Parcel], marks: Sequence[Mark], tally: Tally) -> int | None:
        name, sequence = self._database.execute("SELECT id, next FROM totals").fetchone()
        parcel = make(name, sequence)
        fields = json.dumps(parcel.envelope.to_fields())
        size = len(fields) + len(parcel.body)
        kept = self._made_room(size)
        if kept:
            row = (sequence, size, self._now(), fields, parcel.body)
            self._database.execute(_ADD, row)
        self._noted(marks, tally)
        change = "UPDATE totals SET next = next + 1, clock = ?, dropped = dropped + ?"
        self._database.execute(change, (self._now(), not kept))
        return sequence if kept else None

    def _renamed(self, sequence: int, reseal: Callable[[Parcel, Envelope], bytes]) -> str | None:
        row = self._database.execute(f"{_ONE} AND error IS NULL", (sequence,)).fetchone()
        if row is None:
            return None
        parcel = parcel_of(*row)
        (name,) = self._database.execute("SELECT id FROM totals").fetchone()
        fresh: str = secrets.token_hex(16) if name == parcel.envelope.spool else name
        envelope = replace(parcel.envelope, spool=fresh)
        try:
            body = reseal(parcel, envelope)
        except LatentwireError as fault:
            self._database.execute(_REFUSE, (CONFLICT, str(fault), sequence))
            return ""
        # As long as before: the id has the same number of digits, and so has the body of bytes.
        change = "UPDATE packets SET fields = ?, body = ? WHERE sequence = ?"
        self._database.execute(change, (json.dumps(envelope.to_fields()), body, sequence))
        self._database.execute("UPDATE totals SET id = ?, conflicts = conflicts + 1", (fresh,))
        return fresh

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

    def _noted(self, marks: Iterable[Mark], tally: Tally) -> None:
        self._database.executemany(_TAKEN, map(astuple, marks))
        if tally != NOTHING:
            change = "UPDATE totals SET clipped = clipped + ?, skipped = skipped + ?"
            self._database.execute(change, astuple(tally))

    def _now(self) -> int:
        """Milliseconds that this spool has been open, over all processes."""
        return round(1000 * (self._clock() - self._began))

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.Error as fault:
                raise named(fault, self.path) from fault
