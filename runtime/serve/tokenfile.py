"""The file of tokens: who has one, its SHA-256, and until when it counts.

    {"gate-3": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
     "gate-4": {"sha256": "9f86d081...", "expires": "2027-03-01T00:00:00Z"}, ...}

A token is 32 random bytes, so its plain SHA-256 tells nothing of it; no slow hash is needed. The file is replaced as a
whole, stays its owner's, and only its owner may read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import InputFileError, ManifestError, SettingError
from latentwire.runtime.strictjson import Fields, parse, whole
from latentwire.runtime.wire import Envelope

TOKEN_BYTES = 32
FORM = "%Y-%m-%dT%H:%M:%SZ"
OTHERS = 0o077
"""Permissions of everybody but the owner."""
_ANY_SPOOL = "0" * 32


@dataclass(frozen=True)
class Grant:
    """What the file has of one token.

    Args:
        digest: SHA-256 of the token, as hexadecimal digits.
        expires: from when on it counts no more, in UTC, in whole seconds; None for never.
    """

    digest: str
    expires: datetime | None = None

    def has_ended(self, now: datetime) -> bool:
        """Whether the token counts no more."""
        return self.expires is not None and now >= self.expires

    def to_json(self) -> object:
        """As the file has it: one without an end as files have always had it."""
        return self.digest if self.expires is None else {"sha256": self.digest, "expires": said(self.expires)}


def said(moment: datetime) -> str:
    """A moment in UTC, as the file has it."""
    return moment.strftime(FORM)


def digest_of(token: str) -> str:
    """What the file has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read(path: Path) -> dict[str, Grant]:
    """Everybody who has a token.

    Raises:
        InputFileError: the file cannot be read, or is not such a file.
    """
    try:
        found = parse(path.read_bytes(), str(path))
        fields = Fields(found, str(path))
        grants = {name: fields.child(name, _grant) for name in (found if isinstance(found, dict) else ())}
    except (OSError, ManifestError) as fault:
        raise InputFileError(f"{path}: expected a file of tokens, found {fault}") from fault
    if len({grant.digest for grant in grants.values()}) < len(grants):
        raise InputFileError(f"{path}: expected a token of its own for each name, found one of several")
    return grants


def draw(path: Path, device: str, expires: datetime | None = None) -> str:
    """A new token for the device; the file, made if it is not there, holds its hash from now on. The old one ends.

    Raises:
        EnvelopeError: no device can have that name.
        InputFileError: the file cannot be read or written.
    """
    Envelope(device, _ANY_SPOOL, 0)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with _sole(path):
        grants = read(path) if path.exists() else {}
        _write(path, grants | {device: Grant(digest_of(token), expires)})
    return token


def revoke(path: Path, device: str) -> None:
    """End the device's token.

    Raises:
        InputFileError: the file cannot be read or written.
        SettingError: the device has none.
    """
    with _sole(path):
        grants = read(path)
        if device not in grants:
            raise SettingError(f"expected a device that has a token, found {device}: see --list")
        del grants[device]
        _write(path, grants)


def is_open(path: Path) -> bool:
    """Whether others than its owner may read the file."""
    try:
        return os.name != "nt" and bool(path.stat().st_mode & OTHERS)
    except OSError:
        return False


def end_of(text: str, now: datetime) -> datetime:
    """The end that a user asks for: days from now (``90d``), or a date, whose day is the last one.

    Raises:
        SettingError: it is neither, or has passed.
    """
    try:
        days = re.fullmatch(r"([1-9][0-9]{0,4})d", text, re.ASCII)
        if days:
            return now.replace(microsecond=0) + timedelta(days=int(days[1]))
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
        end = None if day is None else datetime.combine(day, time(), timezone.utc) + timedelta(days=1)
    except (ValueError, OverflowError):
        end = None
    if end is None or end <= now:
        raise SettingError(f"expected days such as 90d, or a date to come such as {now.year + 1}-06-30, found {text!r}")
    return end


def _grant(value: object, where: str) -> Grant:
    if isinstance(value, dict):
        return whole(value, where, lambda fields: Grant(fields.digest("sha256"), fields.child("expires", _moment)))
    return Grant(Fields({"token": value}, where.rpartition(".")[0] or where).digest("token"))


def _moment(value: object, where: str) -> datetime:
    try:
        return datetime.strptime(str(value), FORM).replace(tzinfo=timezone.utc)
    except ValueError as fault:
        raise ManifestError(f"{where}: expected a time such as 2027-03-01T00:00:00Z, found {value!r}") from fault


@contextmanager
def _sole(path: Path) -> Iterator[None]:
    """No other process changes a file of this folder so; what it wrote is read."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # not on Windows

    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY)
    except OSError as fault:
        raise InputFileError(f"{path}: expected a folder that is there, found {fault}") from fault
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, grants: Mapping[str, Grant]) -> None:
    text = json.dumps({name: grant.to_json() for name, grant in grants.items()}, indent=1) + "\n"
    try:
        with whole_file(path, durable=True, private=True) as file:
            _stay_the_owners(path, file.fileno())
            file.write(text.encode())
    except OSError as fault:
        raise InputFileError(f"{path}: expected a disk with room for it, found {fault}") from fault


def _stay_the_owners(path: Path, file: int) -> None:
    """An administrator's change must not take the file from the user whom the service runs as."""
    if os.name == "nt" or not path.exists():
        return
    before, now = path.stat(), os.fstat(file)
    if stat.S_ISREG(now.st_mode) and (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        os.fchown(file, before.st_uid, before.st_gid)
