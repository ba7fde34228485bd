"""Room on the disk that is set aside, so that a full disk does not keep a spool from becoming empty.

SQLite writes to its log before anything is freed, also when packets are removed. Where other files have filled the
disk, this file is given up for that moment, but for its head.

The head says how many packets went because the disk was full, since that cannot be written into the spool itself: it
is written over in place, which takes no new room. It names the number of dropped packets that the spool knew of; once
that number is another one, the spool has counted them, and the head is past.

    bytes 0..3      `LWrv`
    bytes 4..19     two uint64, little-endian: dropped packets that the spool knew of, packets on top of these
    bytes 20..23    CRC-32 of the bytes before
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

SIZE = 1 << 20
"""Bytes; more than the log has when SQLite begins to write it back, see `LOG_PAGES`."""
HEAD = 1 << 12
"""Bytes that stay when the rest is given up."""
LOG_PAGES = 128
"""Of 4 KiB, after which SQLite writes its log back."""
_NOTE = struct.Struct("<4sQQ")
_MAGIC = b"LWrv"


class Reserve:
    """A file that takes room, and remembers a number.

    Args:
        path: of the file; `keep` makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> bool:
        """Set the room aside; whether there was so much."""
        try:
            with self._path.open("ab") as file:
                missing = SIZE - file.seek(0, os.SEEK_END)
                if missing > 0:
                    file.write(os.urandom(missing))  # file systems that compress would give zeros no room
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the room back."""
        with suppress(OSError):
            if self._path.stat().st_size >= HEAD:
                os.truncate(self._path, HEAD)
            else:
                self._path.unlink()

    def note(self, dropped: int, missed: int) -> None:
        """Remember packets that went, as far as there is a file for it.

        Args:
            dropped: that the spool has counted.
            missed: that it has not.
        """
        head = _NOTE.pack(_MAGIC, dropped, missed)
        with suppress(OSError), self._path.open("r+b") as file:
            file.write(head + zlib.crc32(head).to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())

    def missed(self, dropped: int) -> int:
        """Packets that went and were never counted, by a spool that has counted ``dropped``."""
        try:
            with self._path.open("rb") as file:
                head, check = file.read(_NOTE.size), file.read(4)
        except OSError:
            return 0
        if len(head) < _NOTE.size or zlib.crc32(head).to_bytes(4, "little") != check:
            return 0
        magic, known, missed = _NOTE.unpack(head)
        return int(missed) if (magic, known) == (_MAGIC, dropped) else 0
