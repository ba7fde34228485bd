"""Samples of binary .pgm and .ppm files whose largest is not 255: Pillow scales them one by one, 10 s a megapixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from latentwire.runtime.contract import Array

if TYPE_CHECKING:
    from PIL import Image

_STRIP = 1 << 20
"""Samples that are scaled at once."""


def largest_of(image: Image.Image) -> int | None:
    """The largest sample that an open file says it may have; None unless it is such a file."""
    tile: Any = getattr(image, "tile", None)
    if image.format != "PPM" or not tile or tile[0][0] != "ppm":
        return None
    arguments = tile[0][3] if isinstance(tile[0][3], tuple) else (tile[0][3],)
    return next((value for value in arguments if isinstance(value, int)), None)


def samples_of(file: BinaryIO, image: Image.Image, largest: int) -> Array:
    """All samples, scaled to fill their bytes: uint8 or uint16 [H, W, 1 or 3].

    Raises:
        ValueError: the file ends before the picture does.
    """
    tile: Any = image.tile  # type: ignore[attr-defined]  # of every picture that is open
    shape = (image.height, image.width, 3 if image.mode == "RGB" else 1)
    wide = largest > 255
    found = np.empty(shape, np.uint16 if wide else np.uint8)
    size = found.nbytes
    file.seek(tile[0][2])
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"a picture that ends {size - len(content)} bytes too early")
    values, flat = np.frombuffer(content, ">u2" if wide else "u1"), found.reshape(-1)
    full = np.uint32(np.iinfo(found.dtype).max)
    for at in range(0, len(flat), _STRIP):
        part = np.minimum(values[at : at + _STRIP].astype(np.uint32), largest)
        flat[at : at + _STRIP] = (part * full + largest // 2) // np.uint32(largest)
    return found
