"""The packet on the wire, version 1: header and checksum, written and read. No model code, nothing is decoded here.

All numbers are little-endian.

    offset  bytes    field
    0       2        magic 4C 57 ("LW")
    2       1        packet version, 1
    3       4        first four bytes of the codec id (a SHA-256)
    7       1        quality, 0..255
    8       1        layout: bits 0-3 log2 of the lanes, 0..12; bits 4-5 log2 of the width of the fields below, 0..2;
                     bits 6-7 dimensions - 1
    9       width*d  size: the content's d dimensions that vary (dense: the items), each from 1
    ..      width    length of the whole packet in bytes, which tells truncated and trailing bytes apart
    ..      4*lanes  final rANS states, uint32
    ..      2*n      words, uint16, in the order in which the decoder reads them
    ..      m        escapes: LEB128 of zigzag(symbol), 1..5 bytes each, in element order
    last 4  4        Adler-32 (RFC 1950, section 8.2) of every byte before it

``width`` is the smallest that holds every dimension and the length: one content has one packet, and one hash. Header
and checksum of one vector are 15 bytes.

The checks come in the order in which the decoder graph makes them too; every length is checked before anything is
allocated by it.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from enum import IntEnum

from latentwire.runtime.errors import (
    BodyError,
    ChecksumError,
    CodecError,
    LanesError,
    LayoutError,
    LimitError,
    MagicError,
    RemoteError,
    SettingError,
    TrailingError,
    TruncatedError,
    VersionError,
)
from latentwire.runtime.wire.cost import MOST_LANES, Cost

MAGIC = b"LW"
TILE_MAGIC = b"LT"
"""What a tile of a larger picture starts with; see `tiles`."""
PACKET_VERSION = 1
CODEC_BYTES = 4
"""How much of the codec id travels in a packet."""
PREFIX_BYTES = 9
"""Everything before the fields of variable width."""
CHECKSUM_BYTES = 4
STATE_BYTES = 4
MAX_LANES_LOG2 = MOST_LANES.bit_length() - 1
MAX_DIMENSIONS = 4
MAX_PACKET_BYTES = (1 << 32) - 1
MIN_PACKET_BYTES = PREFIX_BYTES + 2 + STATE_BYTES + CHECKSUM_BYTES
"""One dimension, one-byte fields, one lane, no words."""
MAX_HEADER_BYTES = PREFIX_BYTES + 4 * (MAX_DIMENSIONS + 1)
WIDTHS = (1, 2, 4)


class Status(IntEnum):
    """The decoder graph's verdict on a packet; the first check that fails wins."""

    OK = 0
    TRUNCATED = 1
    MAGIC = 2
    VERSION = 3
    CODEC = 4
    LAYOUT = 5
    TRAILING = 6
    CHECKSUM = 7
    LIMIT = 8
    LANES = 9
    BODY = 10


_VERDICTS: dict[Status, tuple[type[RemoteError], str]] = {
    Status.TRUNCATED: (TruncatedError, "expected a whole packet, found its beginning: receive the rest"),
    Status.MAGIC: (MagicError, "expected a packet that starts with 4c 57, found other bytes: this is not a packet"),
    Status.VERSION: (VersionError, "expected packet version 1, found another: use a release that reads it"),
    Status.CODEC: (CodecError, "expected a packet of this codec, found another codec's: decode it with that codec"),
    Status.LAYOUT: (LayoutError, "expected a layout that this codec uses, found another: ask for the packet again"),
    Status.TRAILING: (TrailingError, "expected nothing behind the packet, found bytes: split the packets first"),
    Status.CHECKSUM: (ChecksumError, "expected the checksum in the packet, found another: ask for it again"),
    Status.LIMIT: (LimitError, "expected a packet within the codec's limits, found one that claims or costs more"),
    Status.LANES: (LanesError, "expected every lane to end where encoding began, found another state: the encoder's "
                   "tables differ or the packet was forged"),
    Status.BODY: (BodyError, "expected words and escapes to be used exactly, found too many or too few: the encoder's "
                  "tables differ or the packet was forged"),
}  # fmt: skip


def verdict(status: int) -> RemoteError:
    """The error that stands for a graph's status other than OK."""
    kind, message = _VERDICTS[Status(status)]
    return kind(message)


@dataclass(frozen=True)
class Limits:
    """What a decoder accepts, checked on the header before anything is allocated.

    Args:
        size: for each dimension that varies its largest value, or a tuple of the values that it may have.
        packet_bytes: largest length of a packet.
        area: largest product of all dimensions; None for no limit.
        cost: what packets of the codec take, by which their claims are judged; None where nobody knows.

    Raises:
        SettingError: not one to four dimensions, or a limit below 1.
    """

    size: tuple[int | tuple[int, ...], ...]
    packet_bytes: int = MAX_PACKET_BYTES
    area: int | None = None
    cost: Cost | None = None

    def __post_init__(self) -> None:
        numbers = [n for entry in self.size for n in (entry if isinstance(entry, tuple) else (entry,))]
        empty = any(entry == () for entry in self.size)
        lowest = min([*numbers, self.packet_bytes, self.area if self.area is not None else 1], default=0)
        if empty or not 1 <= len(self.size) <= MAX_DIMENSIONS or lowest < 1:
            raise SettingError(f"expected limits from 1 for one to {MAX_DIMENSIONS} dimensions, found {self}")

    def allow(self, size: tuple[int, ...]) -> bool:
        """Whether every dimension and their product are within the limits."""
        fits = all(
            length in entry if isinstance(entry, tuple) else 1 <= length <= entry
            for length, entry in zip(size, self.size, strict=True)
        )
        return fits and (self.area is None or math.prod(size) <= self.area)

    def work(self, size: tuple[int, ...]) -> int:
        """Values that decoding works on, not the fewer that are kept: whole blocks, in all channels that there may be.

        What is made of a picture of 1 x 65535 pixels is 64 x 65536, in colour, before it is cut to its size.
        """
        if self.cost is None:
            return math.prod(size)
        most = [max(entry) if isinstance(entry, tuple) else entry for entry in self.size]
        lengths = zip(self.cost.padded(size), self.cost.blocks, most, strict=True)
        return math.prod(length if block else largest for length, block, largest in lengths)

    def describe(self) -> str:
        """The limits as text: ``1..65535 x 1..65535 x 1 or 3, product up to 100663296``."""
        entries = [" or ".join(map(str, e)) if isinstance(e, tuple) else f"1..{e}" for e in self.size]
        return " x ".join(entries) + ("" if self.area is None else f", product up to {self.area}")

    def lowered_to(self, other: Limits | None) -> Limits:
        """What both allow: the smaller in every entry, the values that both list.

        Raises:
            SettingError: ``other`` is for another number of dimensions, or nothing is allowed by both.
        """
        if other is None:
            return self
        if len(other.size) != len(self.size):
            raise SettingError(f"expected limits for {len(self.size)} dimensions, found {len(other.size)}")
        size = tuple(_lower(*pair) for pair in zip(self.size, other.size, strict=True))
        areas = [limits.area for limits in (self, other) if limits.area is not None]
        packet_bytes = min(self.packet_bytes, other.packet_bytes)
        return Limits(size, packet_bytes, min(areas, default=None), self.cost or other.cost)

    def check(self, header: Header) -> None:
        """The header claims no more than allowed, and no more than so many bytes can hold.

        Raises:
            LimitError: it does.
        """
        if header.length > self.packet_bytes:
            raise LimitError(f"expected at most {self.packet_bytes} bytes, found a packet of {header.length}")
        if not self.allow(header.size):
            raise LimitError(f"expected a size of {self.describe()}, found {list(header.size)}")
        excess = self.cost and self.cost.excess(header.size, header.quality, header.lanes, header.behind)
        if excess:
            raise LimitError(f"expected {excess}: no encoder of this codec writes that")


def _lower(own: int | tuple[int, ...], other: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """What both allow."""
    if isinstance(own, tuple):
        return tuple(n for n in own if (n in other if isinstance(other, tuple) else n <= other))
    return tuple(n for n in other if n <= own) if isinstance(other, tuple) else min(own, other)


@dataclass(frozen=True)
class Header:
    """The packet's fields before the body.

    Args:
        codec: first four bytes of the codec id.
        quality: 0..255.
        lanes: interleaved rANS states, a power of two up to 4096.
        size: the dimensions that vary.
        length: bytes of the whole packet, header and checksum included.
        width: bytes of each entry of ``size`` and of ``length``: 1, 2 or 4.
    """

    codec: bytes
    quality: int
    lanes: int
    size: tuple[int, ...]
    length: int
    width: int

    @property
    def states_at(self) -> int:
        """Offset of the lane states, where the header ends."""
        return PREFIX_BYTES + self.width * (len(self.size) + 1)

    @property
    def body_at(self) -> int:
        """Offset of the words."""
        return self.states_at + STATE_BYTES * self.lanes

    @property
    def behind(self) -> int:
        """Bytes of words and escapes, between the lane states and the checksum."""
        return self.length - self.body_at - CHECKSUM_BYTES

    def to_bytes(self) -> bytes:
        """The header's bytes; the inverse of `parse_header`."""
        layout = (self.lanes.bit_length() - 1) | WIDTHS.index(self.width) << 4 | (len(self.size) - 1) << 6
        fields = b"".join(value.to_bytes(self.width, "little") for value in (*self.size, self.length))
        return MAGIC + bytes([PACKET_VERSION]) + self.codec + bytes([self.quality, layout]) + fields


def parse_header(data: bytes | memoryview) -> Header:
    """The header at the start of ``data``, which may hold less or more than the packet.

    Raises:
        TruncatedError: the data ends before the header does.
        MagicError: this is no packet.
        VersionError: a packet of another version.
        LayoutError: a layout byte without meaning, a length in which header, states and checksum have no room, or
            fields that are wider than their numbers need.
    """
    if len(data) < PREFIX_BYTES:
        raise TruncatedError(f"expected at least {MIN_PACKET_BYTES} bytes, found {len(data)}: receive the rest")
    if bytes(data[:2]) == TILE_MAGIC:
        raise MagicError("expected a packet, found a tile of a larger picture: decode_tiles puts it together")
    if bytes(data[:2]) != MAGIC:
        raise MagicError(f"expected a packet that starts with 4c 57, found {bytes(data[:2]).hex(' ')}: not a packet")
    if data[2] != PACKET_VERSION:
        raise VersionError(f"expected packet version {PACKET_VERSION}, found {data[2]}: use a release that reads it")
    layout = data[8]
    lanes_log2, width_log2, dimensions = layout & 15, layout >> 4 & 3, (layout >> 6) + 1
    if lanes_log2 > MAX_LANES_LOG2 or width_log2 >= len(WIDTHS):
        raise LayoutError(f"expected at most 2^{MAX_LANES_LOG2} lanes and fields of 1, 2 or 4 bytes, found {layout:#x}")
    width = WIDTHS[width_log2]
    end = PREFIX_BYTES + width * (dimensions + 1)
    if len(data) < end:
        raise TruncatedError(f"expected a header of {end} bytes, found {len(data)}: receive the rest")
    fields = [int.from_bytes(data[at : at + width], "little") for at in range(PREFIX_BYTES, end, width)]
    header = Header(bytes(data[3:7]), data[7], 1 << lanes_log2, tuple(fields[:-1]), fields[-1], width)
    least = header.body_at + CHECKSUM_BYTES
    if header.length < least:
        raise LayoutError(f"expected a length of at least {least} with {header.lanes} lanes, found {header.length}")
    if width != width_for(max(fields)):
        raise LayoutError(
            f"expected fields of {width_for(max(fields))} bytes for {fields}, found {width}: wider than "
            "needed, so that one content would have several packets"
        )
    return header


def check_packet(data: bytes | memoryview, codec_id: bytes | None = None, limits: Limits | None = None) -> Header:
    """Everything that can be checked without decoding.

    Args:
        data: exactly one packet.
        codec_id: the decoder's codec id (32 bytes), or None to accept every codec.
        limits: what the decoder accepts, or None.

    Returns:
        The header.

    Raises:
        CorruptPacketError: the subclass names the first check that failed.
        VersionError: a packet of another version.
        CodecError: a packet of another codec.
    """
    header = parse_header(data)
    if codec_id is not None and header.codec != codec_id[:CODEC_BYTES]:
        raise CodecError(
            f"expected a packet of codec {codec_id[:CODEC_BYTES].hex()}, found one of {header.codec.hex()}: "
            "decode it with that codec"
        )
    if limits is not None and len(limits.size) != len(header.size):
        raise LayoutError(f"expected {len(limits.size)} dimensions, found {len(header.size)}")
    if len(data) < header.length:
        raise TruncatedError(f"expected a packet of {header.length} bytes, found {len(data)}: receive the rest")
    if len(data) > header.length:
        raise TrailingError(f"expected a packet of {header.length} bytes, found {len(data)}: split the packets first")
    check_checksum(data)
    if limits is not None:
        limits.check(header)
    return header


def check_checksum(packet: bytes | memoryview) -> None:
    """The last four bytes are the Adler-32 of the others.

    Raises:
        ChecksumError: they are not.
    """
    found = zlib.adler32(packet[:-CHECKSUM_BYTES])
    sent = int.from_bytes(packet[-CHECKSUM_BYTES:], "little")
    if found != sent:
        raise ChecksumError(f"expected checksum {sent:08x}, found {found:08x}: bytes have changed, ask for it again")


def width_for(largest: int) -> int:
    """The smallest width that holds ``largest``: 1, 2 or 4 bytes."""
    return next(width for width in WIDTHS if largest < 1 << 8 * width)


def write_packet(codec: bytes, quality: int, lanes: int, size: tuple[int, ...], body: bytes) -> bytes:
    """Put header and checksum around a body of lane states, words and escapes."""
    for width in WIDTHS:
        header = Header(codec, quality, lanes, size, 0, width)
        length = header.states_at + len(body) + CHECKSUM_BYTES
        if width_for(max(*size, length)) <= width:
            break
    start = Header(codec, quality, lanes, size, length, width).to_bytes()
    return start + body + zlib.adler32(start + body).to_bytes(CHECKSUM_BYTES, "little")
