"""Room on the disk that is set aside, so that a full disk does not keep a spool from becoming empty.

SQLite writes to its log before anything is freed, also when packets are removed. Where other files have filled the
disk, this file is given up for that moment.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SIZE = 1 << 20
"""Bytes; more than the log has when SQLite begins to write it back, see `LOG_PAGES`."""
LOG_PAGES = 128
"""Of 4 KiB, after which SQLite writes its log back."""


class Reserve:
    """A file that only takes room.

    Args:
        path: of the file; `keep` makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> bool:
        """Set the room aside; whether there was so much."""
        if self._path.exists():
            return True
        try:
            with self._path.open("wb") as file:
                file.write(os.urandom(SIZE))  # file systems that compress would give zeros no room
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the room back."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
