"""Where packets go that were refused, or that do not decode: a folder of bounded size, each with the reason beside it.

Nothing depends on it: where it cannot be written, packets are refused all the same. What was accepted has a name of its
own kind, and its room is not given to what was refused: whoever sends rubbish does not push out what a device was told
is safe. `latentwire quarantine` reads the folder, also while a service writes it: a packet's bytes are there before its
reason, and go after it.

    quarantine/TIME-DIGEST.packet, .json             refused: the body as it came, sealed if it was
    quarantine/TIME-DIGEST-accepted.packet, .json    was in the inbox: opened
    again/TIME-DIGEST.again                          to be taken in again: a line of JSON, then the bytes; appears whole

A kill while a packet goes from one folder to the other leaves it in both: it may be taken in twice, into the same files
of the sink.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.errors import EnvelopeError, InputFileError, ManifestError
from latentwire.runtime.strictjson import parse
from latentwire.runtime.wire import Envelope

PACKET, REASON = ".packet", ".json"
ACCEPTED = "-accepted"
FOLDER, AGAIN = "quarantine", "again"
"""Folders of an inbox: what was refused, and what of it is to be taken in again."""
ASKED = ".again"


@dataclass(frozen=True)
class Kept:
    """A packet in quarantine, without its bytes.

    Args:
        path: of the packet.
        id: its name: of its envelope, or SHA-256 of its bytes.
        when: seconds since 1970-01-01 UTC.
        size: bytes of the packet.
        accepted: whether it had been answered 202.
        error: class of the reason; empty where a kill left none.
        message: the reason itself.
        fields: the envelope's, None where there was none or a bad one.
    """

    path: Path
    id: str
    when: float
    size: int
    accepted: bool
    error: str
    message: str
    fields: dict[str, str] | None

    @property
    def envelope(self) -> Envelope | None:
        """What came beside it.

        Raises:
            EnvelopeError: the file has been changed.
        """
        return None if self.fields is None else Envelope.from_fields(self.fields)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.id,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.when)),
            "bytes": self.size,
            "accepted": self.accepted,
            "error": self.error,
            "message": self.message,
            "envelope": self.fields,
        }


class Quarantine:
    """Refused packets, the newest ones.

    Args:
        folder: made when the first one comes.
        most_packets: beyond, the oldest ones go, those that were refused first.
        most_bytes: of packets and reasons.
    """

    def __init__(self, folder: Path, most_packets: int, most_bytes: int) -> None:
        self._folder, self._most = folder, (most_packets, most_bytes)
        self._lock = threading.Lock()
        self._refused: deque[tuple[str, int]] = deque()
        self._accepted: deque[tuple[str, int]] = deque()
        self._bytes = 0
        self._load()

    def _load(self) -> None:
        sizes: dict[str, int] = {}
        for path in sorted(self._folder.glob("[0-9]*")):
            sizes[path.stem] = sizes.get(path.stem, 0) + path.stat().st_size
        for stem, size in sizes.items():
            self._note(stem, size)

    def _note(self, stem: str, size: int) -> None:
        (self._accepted if stem.endswith(ACCEPTED) else self._refused).append((stem, size))
        self._bytes += size

    def __len__(self) -> int:
        return len(self._refused) + len(self._accepted)

    @property
    def byte_count(self) -> int:
        """What is held."""
        return self._bytes

    def add(
        self,
        data: bytes,
        fault: Exception,
        envelope: Envelope | None = None,
        *,
        accepted: bool = False,
    ) -> None:
        """Keep the bytes and why they were refused; ones that find no room are not kept.

        Args:
            data: what was refused.
            fault: why.
            envelope: what came beside it, if it could be read.
            accepted: it had been answered 202: return when it is on the disk. It always finds room.

        Raises:
            OSError: the folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        fields = None if envelope is None else envelope.to_fields()
        reason = {"error": type(fault).__name__, "message": str(fault), "sha256": digest, "envelope": fields}
        text = json.dumps(reason, indent=1).encode()
        stem = f"{time.time_ns():020}-{digest[:16]}{ACCEPTED if accepted else ''}"
        with self._lock:
            if self._make_room(len(data) + len(text), accepted):
                self._write(stem, data, text, durable=accepted)

    def forget(self, stem: str) -> None:
        """Somebody else has taken a packet out."""
        with self._lock:
            for held in (self._refused, self._accepted):
                for entry in [entry for entry in held if entry[0] == stem]:
                    held.remove(entry)
                    self._bytes -= entry[1]

    def _write(self, stem: str, data: bytes, text: bytes, *, durable: bool) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for suffix, content in ((PACKET, data), (REASON, text)):
                with whole_file(self._folder / (stem + suffix), durable=durable) as file:
                    file.write(content)
        except InputFileError as fault:
            raise OSError(str(fault)) from fault
        self._note(stem, len(data) + len(text))

    def _make_room(self, coming: int, accepted: bool) -> bool:
        """Whether there is room for so many bytes; the oldest go for that."""
        if coming > self._most[1] and not accepted:
            return False
        while len(self) >= self._most[0] or self._bytes + coming > self._most[1]:
            held = self._refused or (self._accepted if accepted else None)
            if not held:
                return accepted
            stem, size = held.popleft()
            self._bytes -= size
            for suffix in (REASON, PACKET):
                (self._folder / (stem + suffix)).unlink(missing_ok=True)
        return True


def read_kept(folder: Path) -> Iterator[Kept]:
    """What is in a quarantine, the oldest first; a service may write there in the meantime."""
    for path in sorted(folder.glob(f"[0-9]*{PACKET}")):
        try:
            yield _kept(path)
        except FileNotFoundError:  # its turn to go has come just now
            continue


def _kept(path: Path) -> Kept:
    try:
        reason = parse(path.with_suffix(REASON).read_bytes(), str(path))
    except (FileNotFoundError, ManifestError):  # a kill came between the two
        reason = None
    told: dict[str, Any] = reason if isinstance(reason, dict) else {}
    fields = told.get("envelope")
    try:
        name = Envelope.from_fields(fields).id if isinstance(fields, dict) else None
    except EnvelopeError:
        name, fields = None, None
    return Kept(
        path=path,
        id=name or str(told.get("sha256") or hashlib.sha256(path.read_bytes()).hexdigest()),
        when=int(path.name[:20]) / 1e9,
        size=path.stat().st_size,
        accepted=path.stem.endswith(ACCEPTED),
        error=str(told.get("error", "")),
        message=str(told.get("message", "")),
        fields=fields if isinstance(fields, dict) else None,
    )


def ask(inbox: Path, kept: Kept) -> bool:
    """Have a packet of an inbox's quarantine taken in; whether it was still there.

    Raises:
        InputFileError: the folder cannot be written to.
    """
    try:
        data = kept.path.read_bytes()
    except FileNotFoundError:
        return False
    folder = inbox / AGAIN
    folder.mkdir(exist_ok=True)
    head = json.dumps({"accepted": kept.accepted, "envelope": kept.fields}).encode()
    with whole_file(folder / (kept.path.stem + ASKED), durable=True) as file:
        file.write(head + b"\n" + data)
    kept.path.with_suffix(REASON).unlink(missing_ok=True)
    kept.path.unlink(missing_ok=True)
    return True


def export_kept(folder: Path, packets: Sequence[Kept]) -> None:
    """Write packets to a folder, each as ID.packet and ID.json; of several with one name, the others as ID-2 and so on.

    Raises:
        InputFileError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    times: Counter[str] = Counter()
    for kept in packets:
        times[kept.id] += 1
        stem = kept.id if times[kept.id] == 1 else f"{kept.id}-{times[kept.id]}"
        with suppress(FileNotFoundError):  # its turn to go has come just now
            data = kept.path.read_bytes()
            for suffix, content in ((PACKET, data), (REASON, json.dumps(kept.to_json(), indent=1).encode())):
                with whole_file(folder / (stem + suffix)) as file:
                    file.write(content)


def asked(folder: Path) -> list[Path]:
    """Files of `ask` in that folder, the oldest packet first."""
    return sorted(folder.glob(f"[0-9]*{ASKED}"))


def read_asked(path: Path) -> tuple[bytes, Envelope | None, bool]:
    """(The packet, what came beside it, whether it had been accepted).

    Raises:
        ManifestError: not what `ask` wrote.
        EnvelopeError: the same.
    """
    head, _, data = path.read_bytes().partition(b"\n")
    told = parse(head, str(path))
    if not isinstance(told, dict) or told.keys() != {"accepted", "envelope"}:
        raise ManifestError(f"{path}: expected accepted and envelope, found something else")
    fields: Any = told["envelope"]
    return data, None if fields is None else Envelope.from_fields(fields), bool(told["accepted"])
