"""PNG files written a few rows at a time, with nothing but NumPy and zlib (PNG specification, third edition).

Of each row's filtered forms the one with the smallest sum of absolute differences is taken, as section 12.7 advises.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = 0, 2
LEVEL, QUICK = 6, 1
AVERAGE = 3
_SLAB = 1 << 20
"""About as many bytes are filtered at once."""


class PngRows:
    """Writes a picture of uint8, from the top; `close` ends the file.

    Args:
        sink: where the bytes go.
        shape: height, width and channels (1 or 3).
        quick: one filter for all rows, and zlib's first level: a fifth of the time. Photographs get no larger by it,
            drawings do.
    """

    def __init__(self, sink: BinaryIO, shape: tuple[int, int, int], *, quick: bool = False) -> None:
        height, width, self._channels = shape
        self._filter = averaged if quick else filtered
        self._sink, self._packer = sink, zlib.compressobj(QUICK if quick else LEVEL, strategy=zlib.Z_FILTERED)
        self._above = np.zeros(width * self._channels, np.uint8)
        sink.write(SIGNATURE)
        kind = GREY if self._channels == 1 else COLOUR
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))

    def write(self, rows: Array) -> None:
        """The next rows, uint8 [n, W, C]."""
        flat = rows.reshape(len(rows), -1)
        count = max(1, _SLAB // flat.shape[1])
        for start in range(0, len(flat), count):
            part = flat[start : start + count]
            self._data(self._packer.compress(self._filter(part, self._above, self._channels)))
            self._above = part[-1].copy()

    def close(self) -> None:
        """Write what is left and the end of the file."""
        self._data(self._packer.flush())
        self._chunk(b"IEND", b"")

    def _data(self, packed: bytes) -> None:
        if packed:
            self._chunk(b"IDAT", packed)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._sink.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def filtered(rows: Array, above: Array, channels: int) -> bytes:
    """Rows uint8 [n, B] as PNG wants them, each behind the number of its filter; ``above`` is the row before them."""
    up = np.concatenate([above[None], rows[:-1]])
    left, up_left = np.zeros_like(rows), np.zeros_like(rows)
    left[:, channels:], up_left[:, channels:] = rows[:, :-channels], up[:, :-channels]
    forms = [rows, rows - left, rows - up, rows - mean(left, up), rows - paeth(left, up, up_left)]
    # A difference and the same one modulo 256 below zero cost alike.
    costs = [np.minimum(form, 0 - form).sum(axis=1, dtype=np.int64) for form in forms]
    best = np.argmin(costs, axis=0)
    out = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    out[:, 0] = best
    for place, form in enumerate(forms):
        chosen = best == place
        out[chosen, 1:] = form[chosen]
    return out.tobytes()


def averaged(rows: Array, above: Array, channels: int) -> bytes:
    """Like `filtered`, with the filter that suits photographs best, whatever the row."""
    up = np.concatenate([above[None], rows[:-1]])
    left = np.zeros_like(rows)
    left[:, channels:] = rows[:, :-channels]
    out = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    out[:, 0] = AVERAGE
    np.subtract(rows, mean(left, up), out=out[:, 1:])
    return out.tobytes()


def mean(left: Array, up: Array) -> Array:
    """Half the sum of two bytes, rounded down, without a ninth bit."""
    found: Array = (left >> 1) + (up >> 1) + (left & up & 1)
    return found


def paeth(left: Array, up: Array, up_left: Array) -> Array:
    """Whichever of the three is nearest to left + up - up_left, in this order where they are equally near."""
    a, b, c = (part.astype(np.int16) for part in (left, up, up_left))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_up <= to_corner, up, up_left)
    found: Array = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    return found
