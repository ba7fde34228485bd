"""What a spool holds, read from its file; a sender may have it open."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.schema import connect
from latentwire.runtime.wire import Envelope

_REFUSED = "SELECT fields, body, error, message FROM packets WHERE error IS NOT NULL ORDER BY sequence"


@dataclass(frozen=True)
class Totals:
    """Packets by what became of them; together they are all that were ever put."""

    waiting: int
    waiting_bytes: int
    refused: int
    refused_bytes: int
    sent: int
    dropped: int

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return self.waiting_bytes + self.refused_bytes


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
        return name, device, Totals(*database.execute(TOTALS).fetchone())


def read_refused(path: str | Path) -> list[RefusedParcel]:
    """The refused packets of a spool that a sender may have open.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """
    with closing(connect(Path(path), read_only=True)) as database:
        rows = database.execute(_REFUSED).fetchall()
    return [RefusedParcel(parcel_of(fields, body), error, message) for fields, body, error, message in rows]
