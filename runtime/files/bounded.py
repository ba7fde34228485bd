"""A file that is asked for no more than it holds."""

from __future__ import annotations

import io
from typing import Any, BinaryIO


class Bounded:
    """An open file that can seek, for libraries that ask for as many bytes as a header claims.

    Python makes room for all that are asked for before it reads: four claimed gigabytes are short memory on a small
    machine, where the file is damaged and nothing else is.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Takes a file that is not written meanwhile; it stays where it stands."""
        self._file, at = file, file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(at)

    def read(self, count: int | None = -1) -> bytes:
        """So many bytes, or fewer at the end."""
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if count is None or count < 0 else min(count, left))

    def __getattr__(self, name: str) -> Any:
        """Everything else is the file's own."""
        return getattr(self._file, name)
