"""Where packets go that were refused, or that do not decode: a folder of bounded size, each with the reason beside it.

Nothing depends on it: where it cannot be written, packets are refused all the same.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from pathlib import Path

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.wire import Envelope

PACKET, REASON = ".packet", ".json"


class Quarantine:
    """Refused packets, the newest ones.

    Args:
        folder: made when the first one comes.
        most_packets: beyond, the oldest ones go.
        most_bytes: of packets and reasons.
    """

    def __init__(self, folder: Path, most_packets: int, most_bytes: int) -> None:
        self._folder, self._most = folder, (most_packets, most_bytes)
        self._lock = threading.Lock()
        self._held: deque[tuple[str, int]] = deque()
        self._bytes = 0
        self._load()

    def _load(self) -> None:
        sizes: dict[str, int] = {}
        for path in sorted(self._folder.glob("[0-9]*")):
            sizes[path.stem] = sizes.get(path.stem, 0) + path.stat().st_size
        for stem, size in sizes.items():
            self._note(stem, size)

    def _note(self, stem: str, size: int) -> None:
        self._held.append((stem, size))
        self._bytes += size

    def __len__(self) -> int:
        return len(self._held)

    @property
    def byte_count(self) -> int:
        """What is held."""
        return self._bytes

    def add(self, data: bytes, fault: Exception, envelope: Envelope | None = None, *, durable: bool = False) -> None:
        """Keep the bytes and why they were refused; ones that are larger than everything allowed are not kept.

        Args:
            data: what was refused.
            fault: why.
            envelope: what came beside it, if it could be read.
            durable: return when it is on the disk.

        Raises:
            OSError: the folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        fields = None if envelope is None else envelope.to_fields()
        reason = {"error": type(fault).__name__, "message": str(fault), "sha256": digest, "envelope": fields}
        text = json.dumps(reason, indent=1).encode()
        if len(data) + len(text) > self._most[1]:
            return
        with self._lock:
            self._drop(len(data) + len(text))
            self._write(data, digest, text, durable)

    def _write(self, data: bytes, digest: str, text: bytes, durable: bool) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{time.time_ns():020}-{digest[:16]}"
        try:
            for suffix, content in ((PACKET, data), (REASON, text)):
                with whole_file(self._folder / (stem + suffix), durable=durable) as file:
                    file.write(content)
        except InputFileError as fault:
            raise OSError(str(fault)) from fault
        self._note(stem, len(data) + len(text))

    def _drop(self, coming: int) -> None:
        """Make room for so many bytes."""
        while self._held and (len(self._held) >= self._most[0] or self._bytes + coming > self._most[1]):
            stem, size = self._held.popleft()
            self._bytes -= size
            for suffix in (REASON, PACKET):
                (self._folder / (stem + suffix)).unlink(missing_ok=True)
