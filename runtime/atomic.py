"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from latentwire.runtime.errors import InputFileError


@contextmanager
def whole_file(path: Path, *, durable: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """A new file that gets its name when the block ends without an error, and is removed otherwise.

    Args:
        path: of the file; one that is there is replaced.
        durable: its bytes and its name are on the disk when the block has ended.
        private: only its owner may read it, from its first byte on.

    Raises:
        InputFileError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        file = open(temporary, "wb", opener=_open_private if private else None)  # noqa: SIM115 # closed below
    except OSError as fault:
        raise InputFileError(f"{path}: expected a folder that can be written to, found {fault}") from fault
    try:
        with file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)


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
