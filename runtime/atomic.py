"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from latentwire.runtime.errors import InputFileError


@contextmanager
def whole_file(path: Path, *, durable: bool = False, private: bool = False, sole: bool = False) -> Iterator[BinaryIO]:
    """A new file that gets its name when the block ends without an error, and is removed otherwise.

    A pipe or a device that is there is written to as the bytes come: it must stay what it is. A link stays one, and the
    file that it points to is replaced.

    Args:
        path: of the file; one that is there is replaced, and hands its permissions on.
        durable: its bytes and its name are on the disk when the block has ended.
        private: only its owner may read it, from its first byte on.
        sole: no other process writes this file. Its temporary name is always the same then, so that the next one writes
            over what a kill left behind.

    Raises:
        InputFileError: the folder cannot be written to, or the path is a folder's.
    """
    before = _mode_of(path)
    if before is not None and not stat.S_ISREG(before):  # by the name given: that behind /dev/stdout may open nothing
        with _opened(path, path, private=False) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.tmp" if sole else f".{path.name}.{os.getpid()}.tmp")
    file = _opened(temporary, path, private=private)
    try:
        with file:
            if before is not None and not private:
                temporary.chmod(stat.S_IMODE(before))
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def _mode_of(path: Path) -> int | None:
    """Kind and permissions of what is there, None for nothing."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _opened(path: Path, named: Path, *, private: bool) -> BinaryIO:
    try:
        return open(path, "wb", opener=_open_private if private else None)
    except IsADirectoryError as fault:
        raise InputFileError(f"{named}: expected a file, found a folder") from fault
    except OSError as fault:
        raise InputFileError(f"{named}: expected a folder that can be written to, found {fault}") from fault


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder that gets its name when the block ends without an error, and is removed otherwise.

    Its temporary name is always the same: the next one begins by removing what a kill left behind. A folder that is
    there is replaced; whether it may be is for the caller to know, before.

    Raises:
        InputFileError: the folder above cannot be written to.
    """
    folder, before = (path.with_name(f".{path.name}.{word}") for word in ("writing", "before"))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as fault:
        raise InputFileError(f"{path}: expected a folder that can be written to, found {fault}") from fault
    try:
        yield folder
        _put(folder, path, before)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _put(folder: Path, path: Path, before: Path) -> None:
    """Give a folder its name. What had it steps aside first: a kill in between leaves both, under other names."""
    if not path.exists():
        folder.rename(path)
        return
    shutil.rmtree(before, ignore_errors=True)
    path.rename(before)
    try:
        folder.rename(path)
    except BaseException:
        before.rename(path)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Where folders cannot be opened, as on Windows, the system sees to it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
