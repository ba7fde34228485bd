"""Decoded items as files."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError
from latentwire.runtime.files.png import PngRows

FORMATS = ("npy", "raw", "png")


def write_items(sink: BinaryIO, items: Array, form: str) -> None:
    """Write decoded items: ``npy``, ``raw`` (values, little-endian, no header) or ``png`` (one picture of all).

    Raises:
        SettingError: items that are no pictures as png.
    """
    if form == "npy":
        np.lib.format.write_array(sink, items, allow_pickle=False)
    elif form == "raw":
        sink.write(items.astype(items.dtype.newbyteorder("<"), copy=False).tobytes())
    else:
        sheet = contact_sheet(items)[..., None]
        rows = PngRows(sink, (len(sheet), sheet.shape[1], 1))
        rows.write(sheet)
        rows.close()


def contact_sheet(items: Array) -> Array:
    """Square grey items side by side, black where there is none: uint8 [N, S * S] -> uint8 [rows * S, columns * S].

    Raises:
        SettingError: the items are not square grey pictures of uint8.
    """
    side = math.isqrt(items[0].size) if items.dtype == np.uint8 and len(items) else 0
    if side == 0 or side * side != items[0].size:
        raise SettingError(
            f"expected square uint8 pictures for png, found {items.dtype} {list(items.shape)}: choose npy"
        )
    columns = math.ceil(math.sqrt(len(items)))
    rows = math.ceil(len(items) / columns)
    cells = np.zeros((rows * columns, side, side), np.uint8)
    cells[: len(items)] = items.reshape(-1, side, side)
    return cells.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)
