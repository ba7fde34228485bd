"""Tiles back into one picture, a strip of whole rows at a time: no more is held than two rows of tiles.

Where tiles overlap, the later one comes in along a linear ramp: of n shared pixels the k-th takes k parts of n + 1
from it. Along a row first, then row onto row, so that every seam, corners too, is continuous. What no tile covers
is mid-grey and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import LayoutError, LimitError, RemoteError, SettingError, TruncatedError
from latentwire.runtime.wire.packet import TILE_MAGIC, parse_header
from latentwire.runtime.wire.stream import LENGTH, Damaged, Packet
from latentwire.runtime.wire.tiles import TILE_BYTES, Tile, parse_tile

MAX_PIXELS = 1 << 28
"""Pixels of the largest picture that is put together unless more are allowed."""
GREY = 128
_SLAB = 1 << 22
"""About as many values are worked on at once."""


class PictureDecoder(Protocol):
    """What putting together needs of a `Decoder`."""

    def decode(self, packet: bytes) -> Array:
        """The picture uint8 [h, w, C] of one packet."""


@dataclass(frozen=True)
class Hole:
    """A rectangle, in pixels, that no intact tile covers."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class TiledPicture:
    """What `decode_tiles` returns."""

    pixels: Array
    """uint8 [H, W, C]."""
    holes: tuple[Hole, ...]
    """Where no intact tile was: mid-grey."""
    damaged: tuple[Damaged, ...]
    """Records that are no intact tile of this picture, in order."""

    @property
    def intact(self) -> bool:
        """Whether every pixel came and nothing else did."""
        return not (self.holes or self.damaged)

    def raise_on_damage(self) -> None:
        """Nothing if the picture is intact.

        Raises:
            RemoteError: the first damaged record's, or `TruncatedError` where tiles are just not there.
        """
        raise_first(self.damaged, self.holes)


def raise_first(damaged: Iterable[Damaged], holes: Iterable[Hole]) -> None:
    """Raise what is wrong with a picture, if anything is.

    Raises:
        RemoteError: the first damaged record's, or `TruncatedError` for the first hole.
    """
    for record in damaged:
        raise record.error
    for hole in holes:
        where = f"{hole.height} x {hole.width} pixels at [{hole.top}, {hole.left}]"
        raise TruncatedError(f"expected tiles for the whole picture, found none for {where}: ask for them again")


def decode_tiles(
    decoder: PictureDecoder,
    records: Iterable[bytes | Packet | Damaged],
    out: Array | None = None,
    max_pixels: int = MAX_PIXELS,
) -> TiledPicture:
    """The picture of tile records.

    Args:
        decoder: a decoder of pictures.
        records: tile records in their order, as `encode_tiles` or `read_stream` gives them.
        out: where the pixels go, uint8 [H, W, C], such as an array that is mapped to a file; a new array if None.
        max_pixels: pixels of the largest picture that is accepted.

    Raises:
        RemoteError: not one record is an intact tile; the first one's error.
        SettingError: ``out`` has another shape or dtype than the picture.
    """
    mosaic = Mosaic(decoder, _with_offsets(records), max_pixels)
    shape = mosaic.require_shape()
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8:
        raise SettingError(f"expected out as uint8 {list(shape)}, found {out.dtype} {list(out.shape)}")
    row = 0
    for rows in mosaic.rows():
        out[row : row + len(rows)] = rows
        row += len(rows)
    return TiledPicture(out, tuple(mosaic.holes), tuple(mosaic.damaged))


def _with_offsets(records: Iterable[bytes | Packet | Damaged]) -> Iterator[Packet | Damaged]:
    """Bare records get the offsets that they would have in a stream."""
    at = 0
    for record in records:
        found = record if isinstance(record, Packet | Damaged) else Packet(at, bytes(record))
        at = found.offset + (found.length if isinstance(found, Damaged) else LENGTH.size + len(found.data))
        yield found


class Mosaic:
    """A picture that is put together while its tiles arrive.

    Everything that a tile claims is checked before anything is allocated by it. A record that is no intact tile of
    the picture goes to ``damaged`` and costs its own pixels only.

    Args:
        decoder: a decoder of pictures.
        records: the stream's records, in order; they are read up to the first intact tile at once.
        max_pixels: pixels of the largest picture that is accepted.

    Attributes:
        shape: (height, width, channels); None where no record was an intact tile.
        damaged: records that were no intact tile, so far.
        tiles: intact tiles, so far.
    """

    def __init__(
        self, decoder: PictureDecoder, records: Iterable[Packet | Damaged], max_pixels: int = MAX_PIXELS
    ) -> None:
        if max_pixels < 1:
            raise SettingError(f"expected max_pixels from 1, found {max_pixels}")
        self._decoder, self._records, self._max_pixels = decoder, iter(records), max_pixels
        self.shape: tuple[int, int, int] | None = None
        self.damaged: list[Damaged] = []
        self._holes = _Holes()
        self.tiles = 0
        self._strip: _Strip | None = None
        self._first = self._next()

    @property
    def holes(self) -> list[Hole]:
        """Rectangles without a tile among the rows that were handed out, so far."""
        return self._holes.found

    def require_shape(self) -> tuple[int, int, int]:
        """(Height, width, channels).

        Raises:
            RemoteError: there is no intact tile.
        """
        if self.shape is None:
            raise_first(self.damaged, ())
            raise TruncatedError("expected tiles of a picture, found none: receive them first")
        return self.shape

    def rows(self) -> Iterator[Array]:
        """The picture's rows from the top, uint8 [n, W, C] a time; to be gone through once."""
        shape = self.require_shape()
        found, self._first = self._first, None
        rest = _Rest(shape)
        while found is not None:
            tile, pixels = found
            if self._strip is None or tile.top != self._strip.top:
                if self._strip is not None:
                    yield from self._done(rest, rest.add(self._strip))
                self._strip = _Strip(tile.top, len(pixels), shape)
            self._strip.add(tile.left, pixels)
            found = self._next()
        if self._strip is not None:
            yield from self._done(rest, rest.add(self._strip))
        yield from self._done(rest, rest.end())

    def _done(self, rest: _Rest, blocks: Iterator[tuple[Array, Array]]) -> Iterator[Array]:
        """Rows that no further tile can change; their holes are noted."""
        for rows, covered in blocks:
            if not covered.all():
                self._holes.note(rest.top, covered)
            rest.top += len(rows)
            yield rows

    def _next(self) -> tuple[Tile, Array] | None:
        """The next intact tile; records that are none go to the list."""
        for record in self._records:
            if isinstance(record, Damaged):
                self.damaged.append(record)
                continue
            try:
                found = self._open(record.data)
            except RemoteError as fault:
                self.damaged.append(Damaged(record.offset, LENGTH.size + len(record.data), fault))
                continue
            self.tiles += 1
            return found
        return None

    def _open(self, record: bytes) -> tuple[Tile, Array]:
        """A tile and its pixels; an ordinary packet is a picture of one tile."""
        is_tile = record.startswith(TILE_MAGIC)
        packet = record[TILE_BYTES:] if is_tile else record
        tile = parse_tile(record) if is_tile else None
        size = parse_header(packet).size
        if len(size) != 3:
            raise LayoutError(f"expected a picture of 3 dimensions, found {len(size)}: this is no picture")
        if tile is None:
            tile = Tile(size[0], size[1], 0, 0)
        shape = (tile.height, tile.width, size[2])
        self._check(tile, size, shape)
        pixels = self._decoder.decode(packet)
        self.shape = shape
        return tile, pixels

    def _check(self, tile: Tile, size: tuple[int, ...], shape: tuple[int, int, int]) -> None:
        if tile.height * tile.width > self._max_pixels:
            raise LimitError(
                f"expected a picture of at most {self._max_pixels} pixels, found {tile.height} x {tile.width}: "
                "allow more with max_pixels"
            )
        if 0 in size or tile.top + size[0] > tile.height or tile.left + size[1] > tile.width:
            raise LayoutError(
                f"expected a tile inside a picture of {tile.height} x {tile.width}, "
                f"found {size[0]} x {size[1]} at [{tile.top}, {tile.left}]"
            )
        if self.shape is not None and shape != self.shape:
            raise LayoutError(f"expected a tile of a picture {list(self.shape)}, found one of {list(shape)}")
        if self._strip is not None and not self._strip.goes_on_with(tile, size):
            raise LayoutError(
                f"expected tiles row by row, found {size[0]} x {size[1]} at [{tile.top}, {tile.left}] "
                f"after a row of height {self._strip.height} at {self._strip.top} was filled up to column "
                f"{self._strip.right}"
            )


class _Strip:
    """One row of tiles, as wide as the picture."""

    def __init__(self, top: int, height: int, shape: tuple[int, int, int]) -> None:
        self.top, self.height = top, height
        self.left, self.right = -1, 0
        self.pixels = np.full((height, *shape[1:]), GREY, np.uint8)
        self.covered = np.zeros(shape[1], bool)

    def goes_on_with(self, tile: Tile, size: tuple[int, ...]) -> bool:
        """Whether the tile is the next of this row, or starts a row below."""
        if tile.top == self.top:
            return size[0] == self.height and tile.left > self.left and tile.left + size[1] > self.right
        return tile.top > self.top and tile.top + size[0] > self.top + self.height

    def add(self, left: int, pixels: Array) -> None:
        shared, right = max(0, self.right - left), left + pixels.shape[1]
        if shared:
            old = self.pixels[:, left : self.right]
            both = np.broadcast_to(self.covered[left : self.right], old.shape[:2])
            blend(old, both, pixels[:, :shared], np.ones_like(both), ramp(shared)[None, :])
        self.pixels[:, left + shared : right] = pixels[:, shared:]
        self.covered[left:right] = True
        self.left, self.right = left, right


class _Rest:
    """The rows from ``top`` on that were put together and can still change."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.height, *row = shape
        self.top = 0
        self.pixels = np.empty((0, *row), np.uint8)
        self.covered = np.empty((0, row[0]), bool)

    def add(self, strip: _Strip) -> Iterator[tuple[Array, Array]]:
        """Put a strip below; what lies above it is final and handed out as (rows, which pixels have a tile).

        The caller moves ``top`` on.
        """
        kept = min(len(self.pixels), strip.top - self.top)
        yield from self._hand_out(kept, strip.top)
        shared = len(self.pixels)
        covered = np.broadcast_to(strip.covered, strip.pixels.shape[:2])
        if shared:
            blend(self.pixels, self.covered, strip.pixels[:shared], covered[:shared], ramp(shared)[:, None])
            covered = np.concatenate([self.covered | covered[:shared], covered[shared:]])
            strip.pixels[:shared] = self.pixels
        self.pixels, self.covered = strip.pixels, covered

    def end(self) -> Iterator[tuple[Array, Array]]:
        """Everything that is left, down to the picture's last row."""
        yield from self._hand_out(len(self.pixels), self.height)

    def _hand_out(self, kept: int, until: int) -> Iterator[tuple[Array, Array]]:
        """The first ``kept`` rows, then grey ones up to the row ``until``."""
        rows, covered = self.pixels[:kept], self.covered[:kept]
        self.pixels, self.covered = self.pixels[kept:], self.covered[kept:]
        if kept:
            yield rows, covered
        most = max(1, _SLAB // max(1, rows.shape[1] * rows.shape[2]))
        while self.top < until:
            count = min(most, until - self.top)
            yield np.full((count, *rows.shape[1:]), GREY, np.uint8), np.zeros((count, rows.shape[1]), bool)


def ramp(shared: int) -> Array:
    """Parts of shared + 1 that the later tile has in each of ``shared`` pixels: int32 [shared]."""
    return np.arange(1, shared + 1, dtype=np.int32)


def blend(old: Array, old_covered: Array, new: Array, new_covered: Array, weight: Array) -> None:
    """Put ``new`` over ``old`` in place: mixed where both have a tile, otherwise whichever has one.

    Args:
        old: uint8 [h, w, C], changed in place.
        old_covered: bool [h, w].
        new: uint8 [h, w, C].
        new_covered: bool [h, w].
        weight: int32 [h, 1] or [1, w], from `ramp`: equal values stay what they are.
    """
    # Sums reach 255 * parts; half of them in rounding.
    kind = np.int32 if weight.size < 1 << 22 else np.int64
    parts = weight.size + 1
    rows = max(1, _SLAB // max(1, old.shape[1] * old.shape[2]))
    for start in range(0, len(old), rows):
        part = slice(start, start + rows)
        share = (weight[part] if weight.shape[0] > 1 else weight)[..., None].astype(kind)
        mixed = (old[part] * (parts - share) + new[part] * share + parts // 2) // parts
        either = np.where(old_covered[part][..., None], old[part], new[part])
        both = (old_covered[part] & new_covered[part])[..., None]
        old[part] = np.where(both, mixed, either)


class _Holes:
    """Uncovered rectangles; those that go on downwards become longer."""

    def __init__(self) -> None:
        self.found: list[Hole] = []
        self._open: dict[tuple[int, int], int] = {}

    def note(self, top: int, covered: Array) -> None:
        """Add those of rows that start at ``top``; ``covered`` is bool [n, W]."""
        changes = np.flatnonzero((covered[1:] != covered[:-1]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), len(covered)]
        for start, stop in pairwise(bounds):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], covered[start], [True]]).astype(np.int8)))
            for left, right in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                self._add(Hole(top + start, left, stop - start, right - left))

    def _add(self, hole: Hole) -> None:
        place = self._open.get((hole.left, hole.width))
        if place is not None:
            above = self.found[place]
            if above.top + above.height == hole.top:
                self.found[place] = Hole(above.top, above.left, above.height + hole.height, above.width)
                return
        self._open[hole.left, hole.width] = len(self.found)
        self.found.append(hole)
