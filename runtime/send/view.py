"""What a spool holds, read from its file; a sender may have it open."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.schema import connect
from latentwire.runtime.strictjson import Facts
from latentwire.runtime.wire import Envelope

_REFUSED = "SELECT fields, body, error, message FROM packets WHERE error IS NOT NULL ORDER BY sequence"


@dataclass(frozen=True)
class Totals:
    """Packets by what became of them: waiting, refused, sent and dropped are all that were ever put."""

    waiting: int
    waiting_bytes: int
    refused: int
    refused_bytes: int
    sent: int
    dropped: int
    conflicts: int
    """Packets that got another name, because a copy of the spool had used theirs."""
    clipped: int
    """Items whose values were moved into the contract's range."""
    skipped: int
    """Items that were left out: out of the range, or larger than a packet may be."""

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return self.waiting_bytes + self.refused_bytes


@dataclass(frozen=True)
class Status(Totals, Facts):
    """What became of everything that was put, over all starts with the same spool."""

    device: str
    spool: str
    gathering: int
    """Items in memory that wait for their batch to be complete."""
    quality: int
    """Of the next packet, at most."""
    last_error: str | None
    """What came last instead of an acknowledgement, or stood in the way of the disk."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"device": self.device, "spool": self.spool} | super().to_json()


TOTALS = f"SELECT {', '.join(field.name for field in fields(Totals))} FROM totals"


@dataclass(frozen=True)
class RefusedParcel:
    """A packet that the server refused for good, and why."""

    parcel: Parcel
    error: str
    message: str


def parcel_of(fields: str, body: bytes) -> Parcel:
    """A packet as its row has it."""
    return Parcel(Envelope.from_fields(json.loads(fields)), body)


def read_totals(path: str | Path) -> tuple[str, str, Totals]:
    """(Id, device, totals) of a spool that a sender may have open.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """
    with closing(connect(Path(path), read_only=True)) as database:
        name, device = database.execute("SELECT id, device FROM totals").fetchone()
        known = {row[1] for row in database.execute("PRAGMA table_info(totals)")}
        # One that an earlier version made has not counted everything; it stays as it is until a sender owns it.
        wanted = [field.name if field.name in known else "0" for field in fields(Totals)]
        return name, device, Totals(*database.execute(f"SELECT {', '.join(wanted)} FROM totals").fetchone())


def read_refused(path: str | Path) -> list[RefusedParcel]:
    """The refused packets of a spool that a sender may have open.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """
    with closing(connect(Path(path), read_only=True)) as database:
        rows = database.execute(_REFUSED).fetchall()
    return [RefusedParcel(parcel_of(fields, body), error, message) for fields, body, error, message in rows]
