"""Pictures larger than one packet may hold: cut into tiles, each a packet behind a header that says where it belongs.

All numbers are little-endian.

    offset  bytes  field
    0       2      magic 4C 54 ("LT")
    2       1      tile version, 1
    3       4      height of the whole picture
    7       4      width of the whole picture
    11      4      top: the picture's row that is the tile's first
    15      4      left: the picture's column that is the tile's first
    19      4      CRC-32 (as in zlib and PNG) of the 19 bytes before it
    23      ..     a packet [h, w, C]: the tile

Tiles come row by row, from left to right. All tiles of a row have its top and its height. Neighbours may overlap; the
decoder blends what they share.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import (
    ChecksumError,
    InputShapeError,
    LayoutError,
    MagicError,
    SettingError,
    TruncatedError,
    VersionError,
)
from latentwire.runtime.wire.packet import TILE_MAGIC

TILE_VERSION = 1
DEFAULT_TILE = 1024
DEFAULT_OVERLAP = 16
BLOCK = 64
"""Sides of tiles are multiples of this where the picture allows it: transforms work in whole blocks."""
MAX_LENGTH = (1 << 32) - 1
_FIELDS = struct.Struct("<2sB4I")
_CRC = struct.Struct("<I")
TILE_BYTES = _FIELDS.size + _CRC.size
"""Bytes in front of a tile's packet."""


class PictureEncoder(Protocol):
    """What cutting needs of an `Encoder`."""

    def encode(self, items: Array, quality: int | None = None) -> bytes:
        """One picture uint8 [h, w, C] as a packet."""


@dataclass(frozen=True)
class Tile:
    """A tile's header: the size of the whole picture, and where in it the tile begins. All in pixels."""

    height: int
    width: int
    top: int
    left: int

    def to_bytes(self) -> bytes:
        """The header's bytes; the inverse of `parse_tile`."""
        fields = _FIELDS.pack(TILE_MAGIC, TILE_VERSION, self.height, self.width, self.top, self.left)
        return fields + _CRC.pack(zlib.crc32(fields))


def parse_tile(record: bytes | memoryview) -> Tile:
    """The header at the start of a tile record; the packet behind it is not looked at.

    Raises:
        TruncatedError: the record ends before the header does.
        MagicError: this is no tile.
        VersionError: a tile of another version.
        ChecksumError: bytes of the header have changed.
        LayoutError: the tile begins outside the picture.
    """
    if len(record) < TILE_BYTES:
        raise TruncatedError(f"expected a tile header of {TILE_BYTES} bytes, found {len(record)}: receive the rest")
    magic, version, height, width, top, left = _FIELDS.unpack_from(record)
    if magic != TILE_MAGIC:
        raise MagicError(f"expected a tile that starts with {TILE_MAGIC.hex(' ')}, found {magic.hex(' ')}: not a tile")
    if version != TILE_VERSION:
        raise VersionError(f"expected tile version {TILE_VERSION}, found {version}: use a release that reads it")
    found, sent = zlib.crc32(record[: _FIELDS.size]), _CRC.unpack_from(record, _FIELDS.size)[0]
    if found != sent:
        raise ChecksumError(f"expected checksum {sent:08x} of the tile header, found {found:08x}: bytes have changed")
    if top >= height or left >= width:
        raise LayoutError(f"expected a tile inside a picture of {height} x {width}, found one at [{top}, {left}]")
    return Tile(height, width, top, left)


def encode_tiles(
    encoder: PictureEncoder,
    picture: Array,
    quality: int | None = None,
    tile: int = DEFAULT_TILE,
    overlap: int = DEFAULT_OVERLAP,
) -> Iterator[bytes]:
    """The picture as tile records, made one by one; only the tile at hand is in memory.

    Args:
        encoder: an encoder of pictures.
        picture: uint8 [H, W] or [H, W, C]; an array that is mapped from a file is read tile by tile.
        quality: 0..255; the codec's default if None.
        tile: largest side of a tile, in pixels.
        overlap: pixels that neighbours share, at most half of ``tile``.

    Returns:
        Tile records for `decode_tiles`; a picture that is no larger than one tile is a single ordinary packet.

    Raises:
        SettingError: ``tile`` or ``overlap`` out of range.
        InputError: the picture is not what the encoder takes; one that is too long for a tile header.
    """
    check_tiling(tile, overlap)
    if picture.ndim not in (2, 3) or not all(1 <= length <= MAX_LENGTH for length in picture.shape):
        raise InputShapeError(f"expected a picture [height, width, channels], found {list(picture.shape)}")
    return _encoded(encoder, picture, quality, tile, overlap)


def _encoded(encoder: PictureEncoder, picture: Array, quality: int | None, tile: int, overlap: int) -> Iterator[bytes]:
    height, width = picture.shape[:2]
    if height <= tile and width <= tile:
        yield encoder.encode(np.ascontiguousarray(picture), quality)
        return
    for top, bottom in spans(height, tile, overlap):
        for left, right in spans(width, tile, overlap):
            part = np.ascontiguousarray(picture[top:bottom, left:right])
            yield Tile(height, width, top, left).to_bytes() + encoder.encode(part, quality)


def check_tiling(tile: int, overlap: int) -> None:
    """Tiles can be cut like that.

    Raises:
        SettingError: they cannot.
    """
    if not 1 <= tile <= MAX_LENGTH:
        raise SettingError(f"expected a tile of 1 to {MAX_LENGTH} pixels, found {tile}")
    if not 0 <= overlap <= tile // 2:
        raise SettingError(f"expected an overlap of 0 to {tile // 2} pixels, half of the tile, found {overlap}")


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """(Start, end) of each tile along an axis: as few tiles as there must be, of like lengths, whole blocks.

    Without this a picture of 1025 pixels would be one tile of 1024 and one of 17.
    """
    if length <= tile:
        return [(0, length)]
    inner = length - overlap
    even = -(-inner // -(-inner // (tile - overlap))) + overlap
    step = min(tile, -(-even // BLOCK) * BLOCK) - overlap
    return [(start, min(start + step + overlap, length)) for start in range(0, inner, step)]
