"""Refused packets that wait again: what was wrong was mended on the server, or the key is there now."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.reserve import Reserve
from latentwire.runtime.send.schema import connect, named, own, writer
from latentwire.runtime.send.view import parcel_of

_REFUSED = "SELECT sequence, fields FROM packets WHERE error IS NOT NULL ORDER BY sequence"
_BACK = "UPDATE packets SET error = NULL, message = NULL WHERE sequence = ?"


def put_back(path: Path, wanted: str | None = None) -> list[str]:
    """Put refused packets of a spool back among those that wait; no sender may have it open.

    They keep their names: a server that refused a packet has never accepted it.

    Args:
        path: of the spool.
        wanted: a packet's name, or its sequence; None for all that were refused.

    Returns:
        Their names; all of them or none are put back.

    Raises:
        SpoolInUseError: a sender has it open.
        SpoolError: there is none, or it cannot be read or written.
        SettingError: no refused packet has that name.
    """
    with closing(connect(path, read_only=True)):  # a file that is none is left as it is
        pass
    with closing(own(path)), closing(writer(path, Reserve(path.with_name(f"{path.name}.reserve")))) as database:
        try:
            names = {sequence: parcel_of(fields, b"").envelope.id for sequence, fields in database.execute(_REFUSED)}
            chosen = [sequence for sequence, name in names.items() if wanted in (None, name, str(sequence))]
            if wanted is not None and not chosen:
                raise SettingError(
                    f"expected the name or the number of a refused packet, found {wanted!r}: see the list"
                )
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_BACK, [(sequence,) for sequence in chosen])
            database.execute("COMMIT")
        except sqlite3.Error as fault:
            raise named(fault, path) from fault
    return [names[sequence] for sequence in chosen]
