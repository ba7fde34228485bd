"""The inbox: what was answered 202 is in this SQLite file, on the disk, until the sink has it.

One thread writes. Whatever was asked of it while one commit ran goes into the next one (group commit), so that the
time of an fsync is shared by all who wait for it. Names stay after their packets have gone: see `names`.

    packets   what waits to be decoded, in the order of arrival
    spools    for each device and spool which sequences were ever accepted
    hashes    the last names of packets without an envelope

A packet and its name get to the disk in one transaction: what is known was stored, so whatever is sent again is a
duplicate, also when it has been decoded since. Room is reserved before a packet is queued, and given back when it was
not stored or has left: what waits for the disk is bounded like what lies on it.

A transaction is, in this order: packets that leave and attempts that are counted, then new packets with their names,
then the sets of sequences. After COMMIT the workers are told of new packets, then whoever offered them is answered. One
that fails is rolled back and all who wait are told; packets that leave stay on the list for the next one; what memory
knows of names is forgotten, as it may name what was not written.

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
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from latentwire.runtime.serve.errors import FullError, InboxError
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.names import Seen
from latentwire.runtime.wire import Envelope

SCHEMA = """
CREATE TABLE IF NOT EXISTS packets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, envelope TEXT, codec BLOB NOT NULL,
    output INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS spools (
    device TEXT NOT NULL, spool TEXT NOT NULL, seen BLOB NOT NULL, touched INTEGER NOT NULL,
    PRIMARY KEY (device, spool)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spools_touched ON spools (touched);
CREATE TABLE IF NOT EXISTS hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
"""
VERSION = 1
OVERHEAD = 512
"""Bytes that a packet is counted for beside its own."""
MAX_HASHES = 1 << 18
MAX_SPOOLS = 1 << 16
"""The one that nothing came from for the longest time is forgotten first."""
CACHED_SPOOLS = 1024
MAX_GROUP = 256
"""Requests that share one commit."""
RETRY_SECONDS = 2

ACCEPTED, DUPLICATE = "accepted", "duplicate"


@dataclass(frozen=True)
class Arrival:
    """A packet that passed its checks."""

    name: str
    envelope: Envelope | None
    codec: bytes
    """First four bytes of the codec id."""
    output: int
    """Bytes that it decodes to."""
    body: bytes


@dataclass(frozen=True)
class Entry:
    """A packet that waits, without its bytes."""

    id: int
    codec: bytes
    size: int
    output: int
    leftover: bool = False
    """Whether it was there when the service started: the last one may have ended because of it."""
    attempts: int = 0
    """How often it was begun and not finished, counted for leftovers."""
    since: float = field(default_factory=time.monotonic, compare=False)


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

    Raises:
        InboxError: another service has it, or it cannot be opened.
    """

    def __init__(self, folder: Path, most_packets: int, most_bytes: int, stored: Callable[[list[Entry]], None]) -> None:
        self._most = (most_packets, most_bytes)
        self._stored = stored
        self._jobs: queue.SimpleQueue[_Offer | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._chores: list[tuple[str, int]] = []
        self._seen: OrderedDict[tuple[str, str], Seen] = OrderedDict()
        self._closing = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._owner = _own(folder / "owner.sqlite")
            self._writer = _open(folder / "inbox.sqlite")
            self._reader = _open(folder / "inbox.sqlite")
            left = self._load()
        except (OSError, sqlite3.Error) as fault:
            raise InboxError(f"{folder}: expected an inbox that nobody else has open, found: {fault}") from fault
        self._packets, self._bytes = len(left), sum(entry.size + OVERHEAD for entry in left)
        stored(left)
        self._thread = threading.Thread(target=self._run, name="inbox")
        self._thread.start()

    def _load(self) -> list[Entry]:
        rows = self._writer.execute("SELECT id, codec, length(body), output, attempts FROM packets ORDER BY id")
        return [Entry(at, codec, size, output, True, attempts) for at, codec, size, output, attempts in rows]

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
            done: called from the inbox's thread, after the fsync, with "accepted" or "duplicate" for each; or with what
                went wrong.

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
        self._reader.close()
        self._writer.close()
        self._owner.close()

    def _run(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            with suppress(queue.Empty):
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
            self._remember(offers, outcomes)
            self._writer.execute("COMMIT")
        except Exception as fault:  # of whatever kind: nobody may wait for ever
            self._roll_back(offers, fault)
            return
        with self._lock:
            del self._chores[: len(chores)]
        for offer, found in zip(offers, outcomes, strict=True):
            self._tell(offer, found)

    def _roll_back(self, offers: list[_Offer], fault: Exception) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")
        self._seen.clear()  # it may name what was not written
        error = InboxError(f"expected an inbox that can be written, found: {fault}")
        for offer in offers:
            self._release(len(offer.arrivals), sum(len(arrival.body) + OVERHEAD for arrival in offer.arrivals))
            _answer(offer, error)

    def _tell(self, offer: _Offer, found: list[Entry | None]) -> None:
        new = [entry for entry in found if entry is not None]
        twice = [arrival for arrival, entry in zip(offer.arrivals, found, strict=True) if entry is None]
        self._release(len(twice), sum(len(arrival.body) + OVERHEAD for arrival in twice))
        if new:
            self._stored(new)
        _answer(offer, [DUPLICATE if entry is None else ACCEPTED for entry in found])

    def _insert(self, arrival: Arrival) -> Entry | None:
        """The packet's entry, or None where its name was accepted before."""
        if not (self._is_new_hash(arrival.name) if arrival.envelope is None else self._is_new(arrival.envelope)):
            return None
        fields = None if arrival.envelope is None else json.dumps(arrival.envelope.to_fields())
        row = (arrival.name, fields, arrival.codec, arrival.output, arrival.body)
        statement = "INSERT OR IGNORE INTO packets (name, envelope, codec, output, body) VALUES (?, ?, ?, ?, ?)"
        cursor = self._writer.execute(statement, row)
        if not cursor.rowcount or cursor.lastrowid is None:  # a forgotten name that waits still
            return None
        return Entry(cursor.lastrowid, arrival.codec, len(arrival.body), arrival.output)

    def _is_new(self, envelope: Envelope) -> bool:
        return self._seen_of(envelope.device, envelope.spool).add(envelope.sequence)

    def _seen_of(self, device: str, spool: str) -> Seen:
        place = (device, spool)
        if place not in self._seen:
            row = self._writer.execute("SELECT seen FROM spools WHERE device = ? AND spool = ?", place).fetchone()
            self._seen[place] = Seen(row[0] if row else b"")
        self._seen.move_to_end(place)
        return self._seen[place]

    def _is_new_hash(self, name: str) -> bool:
        cursor = self._writer.execute("INSERT OR IGNORE INTO hashes (name) VALUES (?)", (name,))
        return cursor.rowcount > 0

    def _remember(self, offers: list[_Offer], outcomes: list[list[Entry | None]]) -> None:
        """Write the sets of sequences that changed, and forget the oldest names beyond the bounds."""
        pairs = (
            pair
            for offer, found in zip(offers, outcomes, strict=True)
            for pair in zip(offer.arrivals, found, strict=True)
        )
        new = [arrival.envelope for arrival, entry in pairs if entry is not None]
        now = time.time_ns()
        for device, spool in {(found.device, found.spool) for found in new if found is not None}:
            row = (device, spool, self._seen_of(device, spool).to_bytes(), now)
            self._writer.execute("INSERT OR REPLACE INTO spools VALUES (?, ?, ?, ?)", row)
        if new:
            self._writer.execute("DELETE FROM hashes WHERE id <= (SELECT max(id) FROM hashes) - ?", (MAX_HASHES,))
            self._forget_spools()
        while len(self._seen) > CACHED_SPOOLS:
            self._seen.popitem(last=False)

    def _forget_spools(self) -> None:
        (count,) = self._writer.execute("SELECT count(*) FROM spools").fetchone()
        if count > MAX_SPOOLS:
            oldest = "SELECT device, spool FROM spools ORDER BY touched LIMIT ?"
            self._writer.execute(f"DELETE FROM spools WHERE (device, spool) IN ({oldest})", (count - MAX_SPOOLS,))
            self._seen.clear()


def _answer(offer: _Offer, outcome: Outcome) -> None:
    """Tell whoever waits; a fault of theirs must not end the inbox's thread."""
    try:
        offer.done(outcome)
    except Exception as fault:
        event("failed", logging.ERROR, error=type(fault).__name__, message=str(fault)[:400])


def _open(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        connection.close()
        raise OSError(f"{path} is of version {version}, this release has {VERSION}")
    connection.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
    return connection


def _own(path: Path) -> sqlite3.Connection:
    """A lock that ends with this process, however it ends."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _envelope(fields: str | None) -> Envelope | None:
    return None if fields is None else Envelope.from_fields(json.loads(fields))
