"""Packets one after another in a file, pipe or socket: each behind its length, uint32 little-endian.

A damaged packet does not lose its neighbours. The reader first looks whether the next frame starts where the damaged
one should end, and otherwise searches for the next frame whose packet states the same length as the
frame and has a checksum that holds.

Where the next frame is in its place, the damaged one may still have lost its tail to frames that are intact: written
over it, or moved up into the place of bytes that are gone. They are found where one behind the other, each with its
magic and a checksum that holds, ends exactly where the damaged frame does. What looks like a frame elsewhere in a
damaged packet is taken for its content, and stays unread: it was never sent.

In the place of a packet there can be a tile of a larger picture: a packet behind a header of its own (see `tiles`).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from latentwire.runtime.errors import (
    ChecksumError,
    LayoutError,
    LimitError,
    RemoteError,
    SettingError,
    TruncatedError,
)
from latentwire.runtime.wire.packet import (
    MAGIC,
    MAX_HEADER_BYTES,
    MAX_PACKET_BYTES,
    MIN_PACKET_BYTES,
    TILE_MAGIC,
    check_checksum,
    parse_header,
)
from latentwire.runtime.wire.tiles import TILE_BYTES, parse_tile

LENGTH = struct.Struct("<I")
DEFAULT_MAX_PACKET = 1 << 24
"""Bytes of the longest packet that a reader takes unless told otherwise."""
CHUNK = 1 << 16
_MAGICS = (MAGIC, TILE_MAGIC)
_ANY_MAGIC = re.compile(b"|".join(_MAGICS))


@dataclass(frozen=True)
class Packet:
    """An intact packet, or an intact tile with its packet, and where its frame starts in the stream."""

    offset: int
    data: bytes

    @property
    def is_tile(self) -> bool:
        """Whether the data is a tile of a larger picture, for `decode_tiles`."""
        return self.data.startswith(TILE_MAGIC)


@dataclass(frozen=True)
class Damaged:
    """A stretch of the stream that holds no intact packet."""

    offset: int
    length: int
    error: RemoteError


def frame(packet: bytes) -> bytes:
    """The packet behind its length."""
    return LENGTH.pack(len(packet)) + packet


def write_stream(sink: BinaryIO, packets: Iterable[bytes]) -> int:
    """Write packets as frames; returns how many.

    Each packet goes out in one write, so that a live reader has it at once when the sink is unbuffered.
    """
    count = 0
    for packet in packets:
        sink.write(frame(packet))
        count += 1
    return count


def read_stream(source: BinaryIO, max_packet: int = DEFAULT_MAX_PACKET) -> Iterator[Packet | Damaged]:
    """Packets and damaged stretches of a stream, in order; every byte of it belongs to exactly one of them.

    Args:
        source: any binary file object that blocks; short reads are fine.
        max_packet: bytes of the longest packet that is accepted. It bounds the reader's memory.

    Raises:
        SettingError: ``max_packet`` is out of range.
    """
    if not MIN_PACKET_BYTES <= max_packet <= MAX_PACKET_BYTES:
        raise SettingError(f"expected max_packet in [{MIN_PACKET_BYTES}, {MAX_PACKET_BYTES}], found {max_packet}")
    window = _Window(source)
    while window.fill(1):
        fault = _fault(window, 0, max_packet)
        if fault is None:
            end = LENGTH.size + window.length_at(0)
            packet = Packet(window.offset, window.view(LENGTH.size, end))
            window.drop(end)
            yield packet
            continue
        offset = window.offset
        yield Damaged(offset, _skip(window, fault, max_packet), fault)


def is_packet(data: bytes) -> bool:
    """Whether the data is a packet without a frame, rather than a stream; it need not be intact.

    A stream can begin like a packet when its first length happens to; then its first frame holds.
    """
    return data.startswith(MAGIC) and _fault(_Window(io.BytesIO(data)), 0, MAX_PACKET_BYTES) is not None


class _Window:
    """The bytes between what was handed out and what was read; indices count from its start."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._bytes = bytearray()
        self._ended = False
        self.offset = 0

    def fill(self, count: int) -> bool:
        """Read until the window holds ``count`` bytes, no further; false if the stream ends before."""
        while len(self._bytes) < count and not self._ended:
            self._append(self._source.read(min(CHUNK, count - len(self._bytes))))
        return len(self._bytes) >= count

    def more(self) -> bool:
        """Read what is there, at least one byte; false if the stream ends here."""
        if not self._ended:
            read_available = getattr(self._source, "read1", self._source.read)
            self._append(read_available(CHUNK))
        return not self._ended

    def _append(self, chunk: bytes | None) -> None:
        if chunk is None:
            raise BlockingIOError("expected a blocking stream, found one with no bytes ready: set it to block")
        self._ended = not chunk
        self._bytes += chunk

    def view(self, start: int, stop: int) -> bytes:
        return bytes(self._bytes[start:stop])

    def length_at(self, start: int) -> int:
        value: int = LENGTH.unpack_from(self._bytes, start)[0]
        return value

    def find_magic(self, start: int) -> int:
        found = _ANY_MAGIC.search(self._bytes, start)
        return -1 if found is None else found.start()

    def magics_before(self, stop: int, first: int) -> Iterator[int]:
        """Where a magic begins, from the last one before ``stop`` down to ``first``; a part at a time."""
        for end in range(stop, first, -CHUNK):
            found = _ANY_MAGIC.finditer(self._bytes, max(first, end - CHUNK), min(end + 1, stop))
            yield from reversed([match.start() for match in found])

    def __len__(self) -> int:
        return len(self._bytes)

    def drop(self, count: int) -> int:
        """Remove the first bytes; returns how many."""
        del self._bytes[:count]
        self.offset += count
        return count


def _fault(window: _Window, start: int, max_packet: int) -> RemoteError | None:
    """What is wrong with the frame at ``start``; no more is read than the frame claims, and no more than allowed."""
    try:
        _check_claims(window, start, max_packet)
        packet_at = start + LENGTH.size
        end = packet_at + window.length_at(start)
        if not window.fill(end):
            raise TruncatedError(f"expected {end - packet_at} bytes of packet, found {len(window) - packet_at}")
        inside = TILE_BYTES if window.view(packet_at, packet_at + len(TILE_MAGIC)) == TILE_MAGIC else 0
        check_checksum(window.view(packet_at + inside, end))
    except RemoteError as fault:
        return fault
    return None


def _check_claims(window: _Window, start: int, max_packet: int) -> None:
    """Length and header of the frame at ``start`` agree, before the packet itself is read."""
    packet_at = start + LENGTH.size
    if not window.fill(packet_at):
        raise TruncatedError(f"expected a length of {LENGTH.size} bytes, found {len(window) - start}")
    length = window.length_at(start)
    if not MIN_PACKET_BYTES <= length <= max_packet:
        raise LimitError(f"expected a frame of {MIN_PACKET_BYTES} to {max_packet} bytes, found one of {length}")
    end = packet_at + min(length, TILE_BYTES + MAX_HEADER_BYTES)
    window.fill(end)
    head = window.view(packet_at, end)
    inside = TILE_BYTES if head.startswith(TILE_MAGIC) else 0
    header = parse_header(head[inside:])
    if header.length != length - inside:
        raise LayoutError(
            f"expected a packet of the frame's {length - inside} bytes, found one that says {header.length}"
        )
    if inside:  # after the length, so that a reader knows where the next frame starts when only this header is bad
        parse_tile(head)


def _skip(window: _Window, fault: RemoteError, max_packet: int) -> int:
    """Drop the damaged frame at the start of the window; returns how many bytes went."""
    if isinstance(fault, ChecksumError):  # so length and header agree: the next frame should start behind it
        end = LENGTH.size + window.length_at(0)
        magic_at = end + LENGTH.size
        follows = window.fill(magic_at + len(MAGIC)) and window.view(magic_at, magic_at + len(MAGIC)) in _MAGICS
        if follows or len(window) == end:
            return window.drop(_tail(window, end, max_packet))
    return _search(window, max_packet)


def _tail(window: _Window, end: int, max_packet: int) -> int:
    """Where intact frames begin, one behind the other, that end at ``end``; ``end`` itself if there are none.

    From the last one to the first. Checking a candidate costs as many bytes as it has: as many as the damaged frame has
    may be spent four times.
    """
    allowance = 4 * end
    starts = {end}
    for magic in window.magics_before(end, 2 * LENGTH.size):
        start = magic - LENGTH.size
        length = window.length_at(start)
        if magic + length not in starts or length > allowance:
            continue
        fault = _fault(window, start, max_packet)
        if fault is None:
            starts.add(start)
        allowance -= length if fault is None or isinstance(fault, ChecksumError) else 0
    return min(starts)


def _search(window: _Window, max_packet: int) -> int:
    """Drop bytes up to the next intact frame, or all there are; returns how many went.

    Checking a candidate costs as many bytes as it claims. What may be spent so is bounded by the bytes gone through,
    lest a hostile stream of overlapping claims takes quadratic time.
    """
    allowance = 4 * max_packet
    lost, at = 0, 1
    while True:
        magic = window.find_magic(at + LENGTH.size)
        # Without a magic in sight, only the last bytes can still be the start of a frame.
        ahead = magic - LENGTH.size if magic >= 0 else max(at, len(window) - LENGTH.size - len(MAGIC) + 1)
        lost += window.drop(ahead)
        if magic < 0:
            if not window.more():
                return lost + window.drop(len(window))
            at = 0
            continue
        allowance += 8 * ahead
        claimed = window.length_at(0)
        if claimed <= allowance:
            fault = _fault(window, 0, max_packet)
            if fault is None:
                return lost
            allowance -= claimed if isinstance(fault, ChecksumError) else 0
        at = 1
