"""The spool's file: an SQLite database, how it is made, opened and checked.

    packets     sequence, fields (the envelope's, JSON), body, bytes (of both), born (milliseconds on the spool's own
                clock), error and message (of the server that refused it; null where it waits)
    totals      one row: id, device and codec of the spool, the next sequence, the spool's clock, how many packets
                there are in each state, packets that got another name, items that were clipped and left out; triggers
                keep the counts of states, so that they hold after every transaction
    taken       path, stamp (size and time of the file), done (items that are in packets), whole (all of them are),
                left_out (items that cannot be)

A file appears under its name only when it is complete, so one that is empty or is no spool was damaged, and is never
made anew in silence.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from latentwire.runtime.atomic import sync_folder
from latentwire.runtime.errors import EnvelopeError, SettingError
from latentwire.runtime.send.errors import (
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
    SpoolInUseError,
    SpoolMismatchError,
)
from latentwire.runtime.send.reserve import LOG_PAGES, Reserve
from latentwire.runtime.wire import Envelope

APPLICATION = 0x4C577370
"""`LWsp` as SQLite's application id."""
VERSION = 2
_ADDED_TOTALS = ("conflicts", "clipped", "skipped")
_REFUSED = """
CREATE TRIGGER refused AFTER UPDATE OF error ON packets WHEN OLD.error IS NULL AND NEW.error IS NOT NULL BEGIN
    UPDATE totals SET waiting = waiting - 1, waiting_bytes = waiting_bytes - NEW.bytes,
        refused = refused + 1, refused_bytes = refused_bytes + NEW.bytes;
END;
CREATE TRIGGER retried AFTER UPDATE OF error ON packets WHEN OLD.error IS NOT NULL AND NEW.error IS NULL BEGIN
    UPDATE totals SET waiting = waiting + 1, waiting_bytes = waiting_bytes + NEW.bytes,
        refused = refused - 1, refused_bytes = refused_bytes - NEW.bytes;
END;
"""
SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE totals (
    id TEXT NOT NULL, device TEXT NOT NULL, codec TEXT NOT NULL, next INTEGER NOT NULL, clock INTEGER NOT NULL,
    waiting INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL, refused INTEGER NOT NULL, refused_bytes INTEGER NOT NULL,
    sent INTEGER NOT NULL, dropped INTEGER NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in _ADDED_TOTALS)}
);
CREATE TABLE packets (
    sequence INTEGER PRIMARY KEY, error TEXT, message TEXT, bytes INTEGER NOT NULL, born INTEGER NOT NULL,
    fields TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX waiting ON packets (sequence) WHERE error IS NULL;
CREATE INDEX refused ON packets (sequence) WHERE error IS NOT NULL;
CREATE TABLE taken (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, done INTEGER NOT NULL, whole INTEGER NOT NULL,
    left_out INTEGER NOT NULL DEFAULT 0
);
CREATE TRIGGER came AFTER INSERT ON packets BEGIN
    UPDATE totals SET waiting = waiting + 1, waiting_bytes = waiting_bytes + NEW.bytes;
END;
{_REFUSED}
CREATE TRIGGER went AFTER DELETE ON packets WHEN OLD.error IS NULL BEGIN
    UPDATE totals SET waiting = waiting - 1, waiting_bytes = waiting_bytes - OLD.bytes;
END;
CREATE TRIGGER forgotten AFTER DELETE ON packets WHEN OLD.error IS NOT NULL BEGIN
    UPDATE totals SET refused = refused - 1, refused_bytes = refused_bytes - OLD.bytes;
END;
"""
UPGRADE = f"""
BEGIN IMMEDIATE;
{"".join(f"ALTER TABLE totals ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0;" for name in _ADDED_TOTALS)}
ALTER TABLE taken ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0;
DROP TRIGGER refused;
{_REFUSED}
PRAGMA user_version = {VERSION};
COMMIT;
"""
"""Version 1 to 2, whole or not at all."""
WAIT_SECONDS = 5.0
"""For a reader of another process that is in the way for a moment."""


def create(path: Path, codec: str, device: str) -> None:
    """A new, empty spool; it appears whole.

    Raises:
        SettingError: the device's name is none.
        SpoolError: the folder cannot be written to, or there are rests of an older spool.
    """
    spool = secrets.token_hex(16)
    try:
        Envelope(device, spool, 0)
    except EnvelopeError as fault:
        raise SettingError(str(fault)) from fault
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        raise SpoolDamagedError(f"expected {path} beside {log.name}, found none: bring it back, or move {log} away")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with closing(sqlite3.connect(temporary)) as database:
            database.executescript(SCHEMA)
            row = (spool, device, codec, *[0] * (8 + len(_ADDED_TOTALS)))
            database.execute(f"INSERT INTO totals VALUES ({', '.join('?' * len(row))})", row)
            database.commit()
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as fault:
        temporary.unlink(missing_ok=True)
        raise SpoolError(f"expected a folder for {path} that can be written to, found: {fault}") from fault


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """An open spool whose file is one; transactions begin where they are asked for.

    Raises:
        SpoolDamagedError: it is none.
        SpoolError: it cannot be opened.
    """
    try:
        mode = "ro" if read_only else "rw"
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as fault:
        raise SpoolError(f"expected a spool at {path}, found: {fault}") from fault
    try:
        _check(database, path)
    except sqlite3.Error as fault:
        database.close()
        raise named(fault, path) from fault
    except SpoolError:
        database.close()
        raise
    return database


def own(path: Path) -> sqlite3.Connection:
    """Nobody else may open the spool until this is closed, or the process ends, however it ends.

    It is a lock on a file beside it, SQLite's own kind, which all systems have: the spool itself stays readable.

    Raises:
        SpoolInUseError: somebody else has it.
        SpoolError: the folder cannot be written to.
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


def writer(path: Path, reserve: Reserve) -> sqlite3.Connection:
    """An open spool of the present version, for its owner: what is committed is on the disk.

    Raises:
        SpoolError: as `connect`, or it cannot be written.
    """
    database = connect(path)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if database.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            reserve.release()  # a full disk must not stand in the way
            database.executescript(UPGRADE)
    except sqlite3.Error as fault:
        database.close()
        raise named(fault, path) from fault
    return database


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Every page of it makes sense."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION or version > VERSION:
        raise damaged(path, "another kind of file" if application != APPLICATION else f"version {version}")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, verdict.replace("\n", " "))
    rows = database.execute("SELECT count(*) FROM totals").fetchone()
    if rows != (1,):
        raise damaged(path, f"{rows[0]} rows of totals")


def check_owner(database: sqlite3.Connection, path: Path, codec: str, device: str) -> None:
    """Nothing if the spool is this codec's and this device's.

    Raises:
        SpoolMismatchError: it is not.
    """
    of_device, of_codec = database.execute("SELECT device, codec FROM totals").fetchone()
    for what, expected, found in (("codec", codec[:16], of_codec[:16]), ("device", device, of_device)):
        if expected != found:
            raise SpoolMismatchError(
                f"{path}: expected packets of {what} {expected}, found {found}: name another file, or send these first"
            )


def damaged(path: Path, found: str) -> SpoolDamagedError:
    """The error of a file that is no spool, or no longer."""
    return SpoolDamagedError(
        f"expected a spool at {path}, found {found}: move it, its -wal and its -shm file away (sqlite3's command "
        ".recover reads what is left of them), then start again"
    )


def named(fault: sqlite3.Error, path: Path) -> SpoolError:
    """An error of SQLite's as one of ours."""
    text = str(fault)
    if type(fault) is sqlite3.DatabaseError or "malformed" in text:
        return damaged(path, text)
    if "full" in text:
        return SpoolFullError(f"expected room on the disk for {path}, found: {text}: make room")
    return SpoolError(f"expected a spool at {path} that can be read and written, found: {text}")
