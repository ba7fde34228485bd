"""Names that were accepted, and what they named, in bounded memory and on a bounded part of the disk.

A name that comes again with the same content is a duplicate: the sender did not hear the answer. With another content
it is a conflict: two spools count under one name, as a cloned SD card does, or a snapshot that was put back.

    spools      for each device and spool the runs of sequences that were ever accepted (`names`)
    contents    eight bytes for each of them: of SHA-256 over times, notes and the packet that was sealed, if it was. In
                blocks of `BLOCK` sequences; beyond `MAX_BLOCKS` the one that nothing came to for longest is forgotten
    hashes      the last names of packets without an envelope, whose name is their content

What is known by its run alone (of an inbox from before, or forgotten) is a duplicate, whatever its content.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import OrderedDict
from typing import Any

from latentwire.runtime.serve.names import Seen
from latentwire.runtime.wire import Envelope

MAX_HASHES = 1 << 18
MAX_SPOOLS = 1 << 16
"""The one that nothing came from for the longest time is forgotten first."""
BLOCK = 256
"""Sequences whose digests are in one row."""
MAX_BLOCKS = 1 << 16
"""Up to 128 MiB: the last 16 million packets, where sequences follow each other."""
CACHED = 1024
"""Spools, and blocks, in memory."""
DIGEST_BYTES = 8
UNKNOWN = bytes(DIGEST_BYTES)

ACCEPTED, DUPLICATE, CONFLICT = "accepted", "duplicate", "conflict"

Place = tuple[Any, ...]
"""(device, spool), or (device, spool, block)."""


def content_of(packet: bytes, envelope: Envelope | None) -> bytes:
    """What is the same however often a packet is sent, sealed or not, and differs between two: eight bytes.

    Args:
        packet: opened.
        envelope: its times and notes are content, too; its name is not, nor the key that it was sealed with.
    """
    fields = {} if envelope is None else envelope.to_fields()
    beside = {name: value for name, value in fields.items() if name in ("times", "notes")}
    digest = hashlib.sha256(json.dumps(beside, sort_keys=True).encode() + b"\n")
    digest.update(packet)
    found = digest.digest()[:DIGEST_BYTES]
    return found if found != UNKNOWN else b"\1" * DIGEST_BYTES


class Known:
    """What an inbox knows of names; every method is called within the writer's transaction.

    Args:
        database: the writer's connection.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._seen: OrderedDict[Place, Seen] = OrderedDict()
        self._blocks: OrderedDict[Place, bytearray] = OrderedDict()
        self._changed: set[Place] = set()
        """Spools and blocks that are not yet written."""
        self._is_new = False
        """Whether a name came since the last `write`."""
        self._count: int | None = None
        """Blocks on the disk; None where they are to be counted."""

    def add(self, name: str, envelope: Envelope | None, content: bytes) -> str:
        """Whether a name is new (`ACCEPTED`), and known from now on; or was, with this content, or with another."""
        if envelope is None:
            cursor = self._database.execute("INSERT OR IGNORE INTO hashes (name) VALUES (?)", (name,))
            self._is_new |= cursor.rowcount > 0
            return ACCEPTED if cursor.rowcount > 0 else DUPLICATE
        before = self._digest(envelope)
        if before not in (UNKNOWN, content):
            return CONFLICT
        place = (envelope.device, envelope.spool)
        if not self._seen_of(place).add(envelope.sequence) or before == content:
            return DUPLICATE
        self._changed.add(place)
        self._note(envelope, content)
        self._is_new = True
        return ACCEPTED

    def _digest(self, envelope: Envelope) -> bytes:
        block, at = self._block_of(envelope)
        return bytes(block[at : at + DIGEST_BYTES]) or UNKNOWN

    def _note(self, envelope: Envelope, content: bytes) -> None:
        block, at = self._block_of(envelope)
        block.extend(bytes(max(0, at + DIGEST_BYTES - len(block))))
        block[at : at + DIGEST_BYTES] = content
        self._changed.add((envelope.device, envelope.spool, envelope.sequence // BLOCK))

    def _block_of(self, envelope: Envelope) -> tuple[bytearray, int]:
        """The digests of a block of sequences, and where in it one's is."""
        place = (envelope.device, envelope.spool, envelope.sequence // BLOCK)
        if place not in self._blocks:
            query = "SELECT digests FROM contents WHERE device = ? AND spool = ? AND block = ?"
            row = self._database.execute(query, place).fetchone()
            self._blocks[place] = bytearray(row[0] if row else b"")
        self._blocks.move_to_end(place)
        return self._blocks[place], DIGEST_BYTES * (envelope.sequence % BLOCK)

    def _seen_of(self, place: Place) -> Seen:
        if place not in self._seen:
            row = self._database.execute("SELECT seen FROM spools WHERE device = ? AND spool = ?", place).fetchone()
            self._seen[place] = Seen(row[0] if row else b"")
        self._seen.move_to_end(place)
        return self._seen[place]

    def write(self) -> None:
        """Write what changed, and forget the oldest beyond the bounds."""
        if self._is_new:
            self._write_new()
        for cache in (self._seen, self._blocks):
            while len(cache) > CACHED:
                cache.popitem(last=False)

    def _write_new(self) -> None:
        if self._count is None:
            (self._count,) = self._database.execute("SELECT count(*) FROM contents").fetchone()
        now, count = time.time_ns(), self._count or 0
        for place in self._changed:
            if len(place) == 2:
                row = (*place, self._seen[place].to_bytes(), now)
                self._database.execute("INSERT OR REPLACE INTO spools VALUES (?, ?, ?, ?)", row)
            else:
                count += self._write_block(place)
        self._count = self._forget_oldest(count)
        self._changed.clear()
        self._is_new = False

    def _write_block(self, place: Place) -> int:
        """With a new id: the lowest ones are those that nothing came to for longest. Returns how many are new."""
        where = "DELETE FROM contents WHERE device = ? AND spool = ? AND block = ?"
        before = self._database.execute(where, place).rowcount
        insert = "INSERT INTO contents (device, spool, block, digests) VALUES (?, ?, ?, ?)"
        self._database.execute(insert, (*place, bytes(self._blocks[place])))
        return 1 - before

    def _forget_oldest(self, blocks: int) -> int:
        """Of so many blocks and all else what is beyond the bounds; returns how many blocks are left."""
        execute = self._database.execute
        execute("DELETE FROM hashes WHERE id <= (SELECT max(id) FROM hashes) - ?", (MAX_HASHES,))
        if blocks > MAX_BLOCKS:
            oldest = "SELECT id FROM contents ORDER BY id LIMIT ?"
            execute(f"DELETE FROM contents WHERE id IN ({oldest})", (blocks - MAX_BLOCKS,))
            self._blocks.clear()
        (spools,) = execute("SELECT count(*) FROM spools").fetchone()
        if spools > MAX_SPOOLS:
            oldest = "SELECT device, spool FROM spools ORDER BY touched LIMIT ?"
            execute(f"DELETE FROM spools WHERE (device, spool) IN ({oldest})", (spools - MAX_SPOOLS,))
            self._seen.clear()
        return min(blocks, MAX_BLOCKS)

    def forget(self) -> None:
        """The transaction was rolled back: what memory has may not have been written."""
        self._seen.clear()
        self._blocks.clear()
        self._changed.clear()
        self._is_new, self._count = False, None
