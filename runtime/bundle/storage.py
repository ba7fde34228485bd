"""Where a bundle's files lie: a folder, or a zip. Only regular files are read, and never more of one than is allowed.

A pipe or a device in a file's place would be read for ever, and opening some devices does something. A zip says how
much it unpacks to; that is judged before anything is unpacked, its list of names before the list is read.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from latentwire.runtime.bundle.manifest import MANIFEST
from latentwire.runtime.errors import ManifestError, ResourceError, TamperedError

MAX_ZIP = 1 << 30
"""Bytes of the largest zip that is opened."""
MAX_LIST = 1 << 20
"""Bytes of a zip's list of names: some ten thousand files."""
FREE, RATIO = 1 << 24, 10
"""A zip may unpack to so many bytes, and to so many for each of its own. Weights hardly shrink: ours take 1.1 to 3."""
_END, _END_SIZE, _COMMENT = b"PK\x05\x06", 22, 1 << 16
_END_64, _END_64_SIZE = b"PK\x06\x07", 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Storage(Protocol):
    """Where a bundle's files lie."""

    def names(self) -> list[str]:
        """Of all files, sorted, with slashes between folders."""

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file of at most ``limit`` bytes; OSError or TamperedError otherwise."""


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """The file, opened for reading; links are followed.

    Raises:
        OSError: there is none, or what is there is no regular file.
    """
    _check_regular(path, os.stat(path).st_mode)
    # Without waiting: what became a pipe since it was looked at must not hang either.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        _check_regular(path, os.fstat(descriptor).st_mode)
        yield file


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(f"expected a regular file, found {_kind(mode)} at {path}")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, read once.

    Raises:
        OSError: there is none, or what is there is no regular file.
        TamperedError: it is longer than ``limit`` bytes.
        ResourceError: it does not fit into memory.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except MemoryError as fault:
        raise ResourceError(f"{path}: expected memory for the file, found too little: try again with more") from fault
    return _within(path.name, data, limit)


def _within(name: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise TamperedError(f"{name}: expected at most {limit} bytes, found more: get the bundle again")
    return data


@dataclass(frozen=True)
class Folder:
    """A bundle as a folder."""

    path: Path

    def names(self) -> list[str]:
        """See `Storage`."""
        return sorted(
            Path(folder, name).relative_to(self.path).as_posix()
            for folder, _, names in os.walk(self.path, followlinks=False)
            for name in names
        )

    def read(self, name: str, limit: int) -> bytes:
        """See `Storage`."""
        return read_regular(self.path / name, limit)


class Zip:
    """A bundle as a zip: its files at the top, or all of them in one folder.

    Raises:
        ManifestError: no zip, without a manifest, or one that unpacks to far more than its own size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._open() as archive:
                listed = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as fault:
            if isinstance(fault, ManifestError):
                raise
            raise ManifestError(
                f"{path}: expected a bundle as a zip, found a file that cannot be read: {fault}"
            ) from fault
        self._check_members(listed)
        names = [entry.filename for entry in listed]
        found = [name for name in names if name.rpartition("/")[2] == MANIFEST]
        if len(found) != 1 or found[0].count("/") > 1:
            raise ManifestError(f"{path}: expected one {MANIFEST} at the top or in one folder, found {found or 'none'}")
        self._prefix = found[0].removesuffix(MANIFEST)
        self._names = sorted(name.removeprefix(self._prefix) for name in names if not name.endswith("/"))

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with open_regular(self.path) as file:
            _check_list(file, self.path)
            with zipfile.ZipFile(file) as archive:
                yield archive

    def _check_members(self, listed: list[zipfile.ZipInfo]) -> None:
        twice = [name for name, count in Counter(entry.filename for entry in listed).items() if count > 1]
        if twice:
            raise ManifestError(f"{self.path}: expected each name once, found {twice[0]!r} again")
        for entry in listed:
            parts = entry.filename.split("/")
            if entry.filename.startswith("/") or "\\" in entry.filename or ".." in parts:
                raise ManifestError(f"{self.path}: expected names inside the bundle, found {entry.filename!r}")
            if entry.compress_type not in _METHODS or entry.flag_bits & 1:
                raise ManifestError(
                    f"{self.path}: expected files that are stored or deflated, found {entry.filename!r} otherwise: "
                    "pack the bundle again"
                )
        unpacked, packed = sum(entry.file_size for entry in listed), self.path.stat().st_size
        if unpacked > FREE + RATIO * packed:
            raise ManifestError(
                f"{self.path}: expected a zip of {packed} bytes to unpack to at most {FREE + RATIO * packed}, found "
                f"{unpacked}: not a bundle's zip; unpack it yourself if you trust it, and name the folder"
            )

    def names(self) -> list[str]:
        """See `Storage`."""
        return list(self._names)

    def read(self, name: str, limit: int) -> bytes:
        """See `Storage`; at most ``limit`` bytes are unpacked, whatever the archive says of itself."""
        try:
            with self._open() as archive, archive.open(self._prefix + name) as member:
                data = member.read(limit + 1)
        except KeyError as fault:
            raise FileNotFoundError(f"{name} is not in {self.path}") from fault
        except MemoryError as fault:
            raise ResourceError(f"{name}: expected memory to unpack it, found too little: try again") from fault
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError) as fault:
            raise TamperedError(f"{self.path}: expected to unpack {name}, found {fault}: get it again") from fault
        return _within(name, data, limit)


def _check_list(file: BinaryIO, path: Path) -> None:
    """Judge a zip's list of names before it is read: an object is made of each entry, of 46 bytes or more."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_ZIP:
        raise ManifestError(
            f"{path}: expected a zip of at most {MAX_ZIP} bytes, found {size}: name the unpacked folder"
        )
    file.seek(max(0, size - _END_SIZE - _COMMENT - _END_64_SIZE))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise zipfile.BadZipFile("no end of a zip")
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length > MAX_LIST or tail[max(0, at - _END_64_SIZE) :].startswith(_END_64):
        raise ManifestError(f"{path}: expected a list of at most {MAX_LIST} bytes of names, found a longer one")
    file.seek(0)
