"""The inbox: what was answered 202 is in this SQLite file, on the disk, until the sink has it.

One thread writes. Whatever was asked of it while one commit ran goes into the next one (group commit), so that the
time of an fsync is shared by all who wait for it. Names stay after their packets have gone: see `known`. Which files
these are, and what becomes of them when they are lost or damaged: see `database`.

A packet and its name get to the disk in one transaction: what is known was stored, so whatever is sent again is a
duplicate, also when it has been decoded since. Room is reserved before a packet is queued, and given back when it was
not stored or has left: what waits for the disk is bounded like what lies on it.

A transaction is, in this order: packets that leave and attempts that are counted, then new packets with their names,
then what changed of what is known. After COMMIT the workers are told of new packets, then whoever offered them is
answered. One that fails is rolled back and all who wait are told; packets that leave stay on the list for the next one;
what memory knows of names is forgotten, as it may name what was not written. From then on a probe is written now and
then, until the disk takes it.

    killed before COMMIT              nobody was answered: the sender sends again
    after it, before the answer       sent again, and a duplicate
    while a packet is decoded         it is a leftover: its next attempts are counted on the disk before they are made,
                                      and what ends the service each time is put aside (`worker`)
    its files are in the sink         decoded again, to the same names and the same bytes
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from latentwire.runtime.serve.database import open_files
from latentwire.runtime.serve.errors import FullError, InboxError
from latentwire.runtime.serve.known import ACCEPTED, CONFLICT, DUPLICATE, Known, content_of
from latentwire.runtime.serve.logs import event
from latentwire.runtime.wire import Envelope

OVERHEAD = 512
"""Bytes that a packet is counted for beside its own."""
MAX_GROUP = 256
"""Requests that share one commit."""
RETRY_SECONDS = 2
PROBE_BYTES = (1 << 16, 1 << 22)
"""Least and most that is written to see whether the disk takes something again."""


@dataclass(frozen=True)
class Arrival:
    """A packet that passed its checks."""

    name: str
    envelope: Envelope | None
    codec: bytes
    """First four bytes of the codec id."""
    work: int
    """Bytes of its items as they are worked on."""
    body: bytes
    content: bytes
    """`known.content_of` it."""
    again: bool = False
    """Whether it comes from quarantine, accepted before: that its name is known is no news."""


@dataclass(frozen=True)
class Entry:
    """A packet that waits, without its bytes."""

    id: int
    codec: bytes
    size: int
    work: int
    leftover: bool = False
    """Whether it was there when the service started: the last one may have ended because of it."""
    attempts: int = 0
    """How often it was begun and not finished by a service that ended, counted for leftovers."""
    failures: int = 0
    """How often it failed for a reason that is neither its own nor this machine's, as far as can be told."""
    held: bool = False
    """Whether this machine could not decode it for now."""
    since: float = field(default_factory=time.monotonic, compare=False)

    @property
    def is_alone(self) -> bool:
        """Whether it must not take others with it."""
        return bool(self.attempts or self.failures or self.held)


@dataclass(frozen=True)
class Stored:
    """A packet as it lies in the inbox."""

    entry: Entry
    name: str
    envelope: Envelope | None
    body: bytes


Outcome = list[str] | Exception
Done = Callable[[Outcome], None]


@dataclass(frozen=True)
class _Offer:
    arrivals: Sequence[Arrival]
    done: Done


class Inbox:
    """Packets that wait, on the disk; safe to use from several threads.

    Args:
        folder: made if it is not there. One service at a time.
        most_packets: packets that may wait.
        most_bytes: of them.
        stored: is told of new entries after their commit, in order, before whoever offered them is.
        anew: as for `database.open_files`.
        had_content: the same.

    Raises:
        InboxError: another service has it, it is lost or damaged, or cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        most_packets: int,
        most_bytes: int,
        stored: Callable[[list[Entry]], None],
        *,
        anew: bool = False,
        had_content: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._most = (most_packets, most_bytes)
        self._stored = stored
        self._jobs: queue.SimpleQueue[_Offer | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._chores: list[tuple[str, int]] = []
        self._closing = False
        self.fault: str | None = None
        """Why the last transaction failed; None since one did not."""
        self._unwritten = 0
        """Bytes of the last offers that the disk did not take."""
        self._files = open_files(folder, anew=anew, had_content=had_content)
        self._writer, self._reader = self._files.writer, self._files.reader
        self._known = Known(self._writer)
        try:
            left = self._load()
        except sqlite3.Error as fault:
            self._files.close()
            raise InboxError(f"{folder}: expected an inbox that can be read, found: {fault}") from fault
        self._packets, self._bytes = len(left), sum(entry.size + OVERHEAD for entry in left)
        stored(left)
        self._thread = threading.Thread(target=self._run, name="inbox")
        self._thread.start()

    def _load(self) -> list[Entry]:
        rows = self._writer.execute("SELECT id, codec, length(body), output, attempts FROM packets ORDER BY id")
        return [Entry(at, codec, size, work, True, attempts) for at, codec, size, work, attempts in rows]

    @property
    def id(self) -> str:
        """32 hexadecimal digits, drawn when it was made."""
        return self._files.id

    @property
    def packets(self) -> int:
        """How many wait or are being decoded."""
        return self._packets

    @property
    def byte_count(self) -> int:
        """What they take."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether not even one small packet has room."""
        return self._packets >= self._most[0] or self._bytes + OVERHEAD >= self._most[1]

    def offer(self, arrivals: Sequence[Arrival], done: Done) -> None:
        """Have the packets written; all of them or none.

        Args:
            arrivals: packets of one request.
            done: called from the inbox's thread, after the fsync, with "accepted", "duplicate" or "conflict" for each;
                or with what went wrong.

        Raises:
            FullError: they have no room.
        """
        self._reserve(len(arrivals), sum(len(arrival.body) + OVERHEAD for arrival in arrivals))
        self._jobs.put(_Offer(arrivals, done))

    def _reserve(self, packets: int, size: int) -> None:
        with self._lock:
            if self._packets + packets > self._most[0] or self._bytes + size > self._most[1]:
                raise FullError(
                    f"expected an inbox with room for {packets} packets, {size} bytes, found {self._packets} packets, "
                    f"{self._bytes} bytes waiting: send them again later",
                    RETRY_SECONDS,
                )
            self._packets, self._bytes = self._packets + packets, self._bytes + size

    def _release(self, packets: int, size: int) -> None:
        with self._lock:
            self._packets, self._bytes = self._packets - packets, self._bytes - size

    def read(self, entries: Iterable[Entry]) -> list[Stored]:
        """The packets themselves, in the order of the entries.

        Raises:
            InboxError: the file cannot be read.
        """
        by_id = {entry.id: entry for entry in entries}
        marks = ",".join("?" * len(by_id))
        try:
            with self._lock:
                query = f"SELECT id, name, envelope, body FROM packets WHERE id IN ({marks}) ORDER BY id"
                rows = self._reader.execute(query, list(by_id)).fetchall()
        except sqlite3.Error as fault:
            raise InboxError(f"expected an inbox that can be read, found: {fault}") from fault
        return [Stored(by_id[at], name, _envelope(fields), body) for at, name, fields, body in rows]

    def finish(self, entries: Sequence[Entry]) -> None:
        """The sink has them: they leave with the next commit."""
        self._release(len(entries), sum(entry.size + OVERHEAD for entry in entries))
        self._chore("DELETE FROM packets WHERE id = ?", entries)

    def begin(self, entries: Sequence[Entry], step: int) -> None:
        """Count an attempt (``step`` 1), or take it back (-1)."""
        self._chore(f"UPDATE packets SET attempts = attempts + {step} WHERE id = ?", entries)

    def _chore(self, statement: str, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._chores += [(statement, entry.id) for entry in entries]
        self._jobs.put(None)

    def flush(self) -> None:
        """Return when everything asked for so far is on the disk.

        Raises:
            InboxError: it cannot be written.
        """
        waiting: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._jobs.put(_Offer((), waiting.put))
        outcome = waiting.get()
        if isinstance(outcome, Exception):
            raise outcome

    def close(self) -> None:
        """Write what was asked for and let the next service have the file."""
        self._closing = True
        self._jobs.put(None)
        self._thread.join()
        self._files.close()

    def _run(self) -> None:
        while True:
            jobs: list[_Offer | None] = []
            with suppress(queue.Empty):
                jobs.append(self._jobs.get(timeout=RETRY_SECONDS if self.fault is not None else None))
                while len(jobs) < MAX_GROUP:
                    jobs.append(self._jobs.get_nowait())
            self._commit([job for job in jobs if job is not None])
            if self._closing and self._jobs.empty():
                return

    def _commit(self, offers: list[_Offer]) -> None:
        """One transaction for all; whoever waits is told when it is on the disk."""
        with self._lock:
            chores = list(self._chores)
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for statement, at in chores:
                self._writer.execute(statement, (at,))
            outcomes = [[self._insert(arrival) for arrival in offer.arrivals] for offer in offers]
            self._known.write()
            if self.fault is not None:
                self._probe()
            self._writer.execute("COMMIT")
        except Exception as fault:  # of whatever kind: nobody may wait for ever
            self._roll_back(offers, fault)
            return
        self.fault = None
        with self._lock:
            del self._chores[: len(chores)]
        for offer, found in zip(offers, outcomes, strict=True):
            self._tell(offer, found)

    def _probe(self) -> None:
        """As much as the disk did not take, which nobody needs: otherwise no news would be good news."""
        least, most = PROBE_BYTES
        size = min(max(self._unwritten, least), most)
        self._writer.execute("INSERT OR REPLACE INTO about VALUES ('probe', randomblob(?))", (size,))

    def _roll_back(self, offers: list[_Offer], fault: Exception) -> None:
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        self._known.forget()
        self.fault = f"{type(fault).__name__}: {fault}"
        if offers:
            self._unwritten = sum(_size(offer) for offer in offers)
        error = InboxError(f"expected an inbox that can be written, found: {fault}")
        for offer in offers:
            self._release(len(offer.arrivals), _size(offer))
            _answer(offer, error)

    def _tell(self, offer: _Offer, found: list[tuple[str, Entry | None]]) -> None:
        new = [entry for _, entry in found if entry is not None]
        old = [arrival for arrival, (_, entry) in zip(offer.arrivals, found, strict=True) if entry is None]
        self._release(len(old), sum(len(arrival.body) + OVERHEAD for arrival in old))
        if new:
            self._stored(new)
        _answer(offer, [status for status, _ in found])

    def _insert(self, arrival: Arrival) -> tuple[str, Entry | None]:
        """What becomes of a packet, and its entry where it is new."""
        if not arrival.again:
            status = self._known.add(arrival.name, arrival.envelope, arrival.content)
            if status != ACCEPTED:
                return status, None
        fields = None if arrival.envelope is None else json.dumps(arrival.envelope.to_fields())
        row = (arrival.name, fields, arrival.codec, arrival.work, arrival.body)
        statement = "INSERT OR IGNORE INTO packets (name, envelope, codec, output, body) VALUES (?, ?, ?, ?, ?)"
        cursor = self._writer.execute(statement, row)
        if not cursor.rowcount or cursor.lastrowid is None:  # a forgotten name that waits still
            return self._against_waiting(arrival), None
        return ACCEPTED, Entry(cursor.lastrowid, arrival.codec, len(arrival.body), arrival.work)

    def _against_waiting(self, arrival: Arrival) -> str:
        query = "SELECT envelope, body FROM packets WHERE name = ?"
        fields, body = self._writer.execute(query, (arrival.name,)).fetchone()
        return DUPLICATE if content_of(body, _envelope(fields)) == arrival.content else CONFLICT


def _answer(offer: _Offer, outcome: Outcome) -> None:
    """Tell whoever waits; a fault of theirs must not end the inbox's thread."""
    try:
        offer.done(outcome)
    except Exception as fault:
        event("failed", logging.ERROR, error=type(fault).__name__, message=str(fault)[:400])


def _size(offer: _Offer) -> int:
    """What its packets are counted for."""
    return sum(len(arrival.body) + OVERHEAD for arrival in offer.arrivals)


def _envelope(fields: str | None) -> Envelope | None:
    return None if fields is None else Envelope.from_fields(json.loads(fields))
