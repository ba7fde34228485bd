"""The inbox's files: opened, made, and told apart from ones that are lost or damaged.

    inbox.sqlite    packets that wait, and names that stay known
    inbox.json      the inbox's id, written when the file above is there: it says that there was one
    owner.sqlite    a lock that ends with its process

An inbox that is gone or damaged is never replaced in silence: packets that were answered 202 may be in it, and names
that it knew would be taken a second time. Two things say that there was one: `inbox.json`, and what the caller knows,
as the sink does. Then only `anew` makes another, and what is left of the old one stays, under another name.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.serve.errors import DamagedInboxError, InboxError, LostInboxError

FILE, MARK, OWNER = "inbox.sqlite", "inbox.json", "owner.sqlite"
BESIDE = ("", "-wal", "-shm")
"""What SQLite's files end with."""
VERSION = 2
"""Version 1 knew names without what they named."""
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS packets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, envelope TEXT, codec BLOB NOT NULL,
    output INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS spools (
    device TEXT NOT NULL, spool TEXT NOT NULL, seen BLOB NOT NULL, touched INTEGER NOT NULL,
    PRIMARY KEY (device, spool)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spools_touched ON spools (touched);
CREATE TABLE IF NOT EXISTS hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, spool TEXT NOT NULL, block INTEGER NOT NULL,
    digests BLOB NOT NULL, UNIQUE (device, spool, block));
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO about VALUES ('id', lower(hex(randomblob(16))));
PRAGMA user_version = {VERSION};
COMMIT;
"""
ANEW = "bring back the file from a copy, or begin anew with --new-inbox: nothing of the old one is deleted"


@dataclass(frozen=True)
class Files:
    """An open inbox.

    Args:
        id: 32 hexadecimal digits, drawn when it was made.
        owner: keeps everybody else out while it is open.
        writer: for the one thread that writes.
        reader: for the others.
    """

    id: str
    owner: sqlite3.Connection
    writer: sqlite3.Connection
    reader: sqlite3.Connection

    def close(self) -> None:
        """Let the next service have them."""
        self.reader.close()
        self.writer.close()
        self.owner.close()


def open_files(folder: Path, *, anew: bool = False, had_content: Callable[[], str | None] = lambda: None) -> Files:
    """Open an inbox, or make it where there never was one.

    Args:
        folder: made if it is not there. One service at a time.
        anew: where it is lost or damaged, set aside what is left and make another.
        had_content: asked where there is no inbox: who says that there was one, None where nobody does.

    Raises:
        LostInboxError: there is none, and somebody says that there was one.
        DamagedInboxError: it is there, and SQLite cannot read it whole.
        InboxError: another service has it, or it cannot be opened.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = _own(folder / OWNER)
    except (OSError, sqlite3.Error) as fault:
        raise InboxError(f"{folder}: expected an inbox that nobody else has open, found: {fault}") from fault
    try:
        _prepare(folder, anew, had_content)
        writer, reader = _open(folder / FILE), _open(folder / FILE)
        (name,) = writer.execute("SELECT value FROM about WHERE key = 'id'").fetchone()
        _mark(folder / MARK, name)
    except BaseException as fault:
        owner.close()
        if isinstance(fault, OSError | sqlite3.Error | InputFileError):
            raise InboxError(f"{folder}: expected an inbox that can be opened, found: {fault}") from fault
        raise
    return Files(name, owner, writer, reader)


def _prepare(folder: Path, anew: bool, had_content: Callable[[], str | None]) -> None:
    """There is a whole inbox, or may be a new one."""
    fault = _damage(folder / FILE) if _is_there(folder / FILE) else _loss(folder, anew, had_content)
    if fault is None:
        return
    if not anew:
        raise fault
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{secrets.token_hex(2)}"
    for ending in BESIDE:
        left = folder / (FILE + ending)
        if left.exists():
            left.rename(folder / f"old-{stamp}-{FILE}{ending}")
    (folder / MARK).unlink(missing_ok=True)


def _is_there(path: Path) -> bool:
    """An empty file is what SQLite leaves when it is killed before the first transaction of all."""
    return path.exists() and path.stat().st_size > 0


def _damage(path: Path) -> InboxError | None:
    """What is wrong with a file; it is only read."""
    found: str | Exception
    try:
        database = sqlite3.connect(path, isolation_level=None)
        try:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if found == "ok" and version == 0:
                found = "a database of something else"
        finally:
            database.close()
    except sqlite3.DatabaseError as fault:
        if type(fault) is not sqlite3.DatabaseError:  # its subclasses are about what may pass: locked, disk full
            raise
        found = fault
    if found == "ok":
        return None
    said = " ".join(str(found).split())  # SQLite's findings have lines
    return DamagedInboxError(f"{path}: expected a whole inbox, found: {said}; {ANEW}")


def _loss(folder: Path, anew: bool, had_content: Callable[[], str | None]) -> InboxError | None:
    """Who says that there was an inbox where there is none."""
    left = [name for name in (MARK, FILE + "-wal") if (folder / name).exists()]
    said = f"its {left[0]}" if left else None if anew else had_content()
    return (
        None
        if said is None
        else LostInboxError(f"{folder / FILE}: expected the inbox that {said} tells of, found none; {ANEW}")
    )


def _open(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise OSError(f"{path} is of version {version}, this release has {VERSION}: install a newer one")
        if version < VERSION:
            connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _mark(path: Path, name: str) -> None:
    text = json.dumps({"id": name}).encode()
    if not path.exists() or path.read_bytes() != text:
        with whole_file(path, durable=True) as file:
            file.write(text)


def _own(path: Path) -> sqlite3.Connection:
    """A lock that ends with this process, however it ends."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
