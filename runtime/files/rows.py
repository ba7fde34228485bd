"""Pictures written row by row, in every format that loses nothing."""

from __future__ import annotations

import io
from typing import BinaryIO, Protocol

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import MissingExtraError, SettingError
from latentwire.runtime.files.formats import WHOLE_FORMATS
from latentwire.runtime.files.png import PngRows


class RowSink(Protocol):
    """Takes a picture's rows from the top."""

    def write(self, rows: Array) -> None:
        """The next rows, uint8 [n, W, C]."""

    def close(self) -> None:
        """All rows were written."""


class _PlainRows:
    """A header, then the pixels as they are: npy, raw, ppm."""

    def __init__(self, sink: BinaryIO, head: bytes) -> None:
        self._sink = sink
        sink.write(head)

    def write(self, rows: Array) -> None:
        self._sink.write(np.ascontiguousarray(rows).data)

    def close(self) -> None:
        pass


class _WholeRows:
    """Waits for the last row and lets Pillow write them all, without loss."""

    def __init__(self, sink: BinaryIO, form: str, shape: tuple[int, int, int]) -> None:
        self._sink, self._form = sink, form
        self._pixels, self._row = np.empty(shape, np.uint8), 0

    def write(self, rows: Array) -> None:
        self._pixels[self._row : self._row + len(rows)] = rows
        self._row += len(rows)

    def close(self) -> None:
        try:
            from PIL import Image
        except ModuleNotFoundError as fault:
            raise MissingExtraError(
                f"{self._form} needs the image extra: pip install 'latentwire[image]', or choose png"
            ) from fault
        pixels = self._pixels[..., 0] if self._pixels.shape[2] == 1 else self._pixels
        buffer = io.BytesIO()
        settings = {"lossless": True} if self._form == "webp" else {}
        try:
            Image.fromarray(pixels).save(buffer, {"tif": "TIFF"}.get(self._form, self._form.upper()), **settings)
        except (ValueError, OSError, KeyError) as fault:
            raise SettingError(
                f"expected a picture that {self._form} holds, found {list(self._pixels.shape)}: {fault}; choose png"
            ) from fault
        self._sink.write(buffer.getvalue())


def row_sink(sink: BinaryIO, form: str, shape: tuple[int, int, int]) -> RowSink:
    """Where the rows of one picture go.

    Args:
        sink: an open file.
        form: one of `PICTURE_FORMATS`.
        shape: height, width and channels of the picture.
    """
    if form in WHOLE_FORMATS:
        return _WholeRows(sink, form, shape)
    return PngRows(sink, shape) if form == "png" else _PlainRows(sink, _head(form, shape))


def _head(form: str, shape: tuple[int, int, int]) -> bytes:
    height, width, channels = shape
    if form == "npy":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return buffer.getvalue()
    return b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, width, height) if form == "ppm" else b""
