"""Where items come from on the command line: frames on stdin, and files that are finished."""

from __future__ import annotations

import io
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.files import NPY_MAGIC, raw_items
from latentwire.runtime.npyheader import NpyHeader, read_npy_header

MAX_FRAME = 1 << 30
"""Bytes of one array on stdin: a header that lies must not fill the memory."""
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
"""Suffixes of files that somebody is still writing; so are names that begin with a dot."""
LOOK_SECONDS = 0.2
AGAIN_SECONDS = 60.0
"""How often a whole folder is looked through, in case that a change was not told: network folders, many at once."""
_PIECE = 1 << 20

Read = Callable[[int], bytes]
"""So many bytes, or fewer at the end."""


def raw_frames(read: Read, contract: ItemContract) -> Iterator[Array]:
    """Records of raw values, little-endian, one item each, until the end of stdin.

    Raises:
        InputFileError: the last one is not whole.
    """
    while record := read(contract.item_bytes):
        yield raw_items(record, contract, "stdin")


def npy_frames(read: Read) -> Iterator[Array]:
    """Arrays in .npy format, one behind the other, until the end of stdin.

    Raises:
        InputFileError: something else, or the last one is not whole.
    """
    at = 0
    while head := read(len(NPY_MAGIC) + 2):
        width = 2 if head[len(NPY_MAGIC) : len(NPY_MAGIC) + 1] == b"\1" else 4
        length = read(width)
        text = read(min(int.from_bytes(length, "little"), 1 << 16))
        header = _header(head + length + text, at)
        size = header.nbytes
        if size > MAX_FRAME:
            raise InputFileError(f"stdin, offset {at}: expected an array of at most {MAX_FRAME} bytes, found {size}")
        values = _whole(read, size)
        if len(values) < size:
            raise InputFileError(f"stdin, offset {at}: expected {size} bytes of values, found {len(values)} at the end")
        array = np.frombuffer(values, header.dtype).reshape(header.shape, order=header.order)
        yield array.astype(header.dtype.newbyteorder("="), copy=False)
        at += len(head) + width + len(text) + size


def _header(data: bytes, at: int) -> NpyHeader:
    """Of the array at an offset."""
    try:
        return read_npy_header(io.BytesIO(data))
    except ValueError as fault:
        raise InputFileError(f"stdin, offset {at}: expected the header of a NumPy array, found: {fault}") from fault


def _whole(read: Read, size: int) -> bytes:
    pieces, left = [], size
    while left and (piece := read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def stamp_of(path: Path) -> str | None:
    """A file's size and time of its last change; None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_size}:{found.st_mtime_ns}"


def is_candidate(path: Path) -> bool:
    """Whether a file in a watched folder is one to take, by its name."""
    return not path.name.startswith(".") and path.suffix.lower() not in UNFINISHED and path.is_file()


class Settling:
    """Tells files that are finished: nothing of size and time has changed for some seconds.

    Args:
        seconds: without a change.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[Path, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, path: Path) -> None:
        """A file that may be new, or changed."""
        self._seen.setdefault(path, ("", 0.0))

    def finished(self, now: float) -> list[Path]:
        """Those that are finished, which are no longer looked at; ordered by name. ``now`` is in seconds."""
        done = [path for path in sorted(self._seen) if self._is_finished(path, now)]
        for path in done:
            del self._seen[path]
        return done

    def _is_finished(self, path: Path, now: float) -> bool:
        stamp, since = self._seen[path]
        found = stamp_of(path)
        if found is None:
            del self._seen[path]
            return False
        if found != stamp:
            self._seen[path] = (found, now)
        return found == stamp and now - since >= self._seconds


def finished_files(
    folder: Path, stop: threading.Event, settle: float, *, once: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Path]:
    """Files of a folder, those that are there and those that come, each when nobody writes to it any more.

    Args:
        folder: its own files only, not those of folders in it.
        stop: ends it.
        settle: seconds without a change after which a file is finished.
        once: end when all that are there have been taken.
        clock: seconds, never going back.

    Raises:
        InputFileError: the folder cannot be read.
    """
    settling = Settling(settle)
    for changed in _changes(folder, stop, clock):
        for path in filter(is_candidate, changed):
            settling.add(path)
        yield from settling.finished(clock())
        if once and not settling:
            return


def _changes(folder: Path, stop: threading.Event, clock: Callable[[], float]) -> Iterator[list[Path]]:
    """Files that may be new: first all, then, several times a second, those that the system tells of."""
    from watchfiles import watch

    looked_at = -math.inf
    # Watching begins before the first look, so that nothing comes unseen between the two.
    changes = watch(
        folder,
        watch_filter=None,
        stop_event=stop,
        rust_timeout=round(1000 * LOOK_SECONDS),
        yield_on_timeout=True,
        recursive=False,
    )
    for changed in changes:
        if stop.is_set():
            return
        if clock() - looked_at >= AGAIN_SECONDS:
            looked_at = clock()
            yield _listed(folder)
        else:
            yield [Path(path) for _, path in changed]


def _listed(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError as fault:
        raise InputFileError(f"{folder}: expected a folder that can be read, found: {fault}") from fault
