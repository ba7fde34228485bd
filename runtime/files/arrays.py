"""Files of arrays: IDX (plain or .gz), .npy, .npz.

A file that is not what it should be is refused with its name, the offset of the first wrong byte, what was expected
there and what was found. Nothing is read that the header does not announce: a gzip file cannot grow beyond it.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.npyheader import read_npy_header

# The third byte of an IDX file (http://yann.lecun.com/exdb/mnist, "the IDX file format"); numbers are big-endian.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC, IDX_MAGIC = b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b", b"\0\0"
IDX_HEAD, MOST_DIMENSIONS = 8, 4
BOX_NAMES = (b"ftyp", b"JXL ", b"jP  ")
_PIECE = 1 << 24

Source = str | Path
"""A file's path, or a name that stands for it in messages."""


def bad_file(name: Source, offset: int, expected: str, found: str) -> InputFileError:
    """The error of a file whose first wrong byte is at ``offset``."""
    error = InputFileError(f"{name}, offset {offset}: expected {expected}, found {found}")
    error.file, error.place = str(name), {"offset": offset}
    return error


def holds_array(file: BinaryIO) -> bool:
    """Whether an open file that can seek begins like one of an array; where it stands stays as it is."""
    start = file.tell()
    head = file.read(max(len(NPY_MAGIC), IDX_HEAD))
    file.seek(start)
    return is_idx(head) or head.startswith((NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC))


def is_idx(head: bytes) -> bool:
    """Whether these first bytes are the header of an IDX file, as far as they go.

    Two zeros alone are not: AVIF, HEIC, JPEG 2000, JPEG XL, icons and Targa files begin with them too.
    """
    if len(head) < 4 or head[:2] != IDX_MAGIC or head[2] not in IDX_TYPES or not 1 <= head[3] <= MOST_DIMENSIONS:
        return False
    return head[4:8] not in BOX_NAMES  # a box of 2 KiB or so, as pictures have them, has the length 00 00 08 01


def array_from(file: BinaryIO, name: Source) -> tuple[Array, Array | None]:
    """The array in an open file that can seek, told by its first bytes, and the labels that an .npz has beside it.

    Raises:
        InputFileError: the file cannot be read as what it begins like.
    """
    head = file.read(len(NPY_MAGIC))
    file.seek(0)
    if head.startswith(ZIP_MAGIC):
        return npz_from(file, name)
    return (npy_from(file, name) if head == NPY_MAGIC else idx_from(file, name)), None


def read_idx(path: Path) -> Array:
    """The array in an IDX file, in native byte order; gzip is unpacked on the way."""
    with path.open("rb") as file:
        return idx_from(file, path)


def read_npy(path: Path) -> Array:
    """The array in an .npy file; pickled objects are refused."""
    with path.open("rb") as file:
        return npy_from(file, path)


def read_npz(path: Path) -> tuple[Array, Array | None]:
    """The arrays `items` and `labels` in an .npz file; a lone array of another name stands for `items`."""
    with path.open("rb") as file:
        return npz_from(file, path)


def idx_from(file: BinaryIO, name: Source) -> Array:
    """The array of an open IDX file, plain or gzip."""
    packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    try:
        return _idx(gzip.GzipFile(fileobj=file) if packed else file, name)
    except (gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise bad_file(name, 0, "a complete gzip file", str(fault)) from fault


def _idx(file: IO[bytes] | gzip.GzipFile, name: Source) -> Array:
    head = file.read(4)
    if len(head) < 4 or head[:2] != IDX_MAGIC or head[2] not in IDX_TYPES or not 1 <= head[3] <= MOST_DIMENSIONS:
        expected = "an IDX header (00 00, a type from 08 09 0b 0c 0d 0e, 1 to 4 dimensions)"
        raise bad_file(name, 0, expected, head.hex(" ") or "the end of the file")
    dtype, dimensions = np.dtype(IDX_TYPES[head[2]]), head[3]
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise bad_file(name, 4 + len(sizes), f"{dimensions} dimensions of 4 bytes each", "the end of the file")
    shape = struct.unpack(f">{dimensions}I", sizes)
    return _values(file, name, dtype, shape, offset=4 + 4 * dimensions)


def npy_from(file: IO[bytes], name: Source) -> Array:
    """The array of an open .npy file."""
    try:
        header = read_npy_header(file)
    except ValueError as fault:
        raise bad_file(name, 0, "the header of a NumPy array of numbers", str(fault)) from fault
    shape = header.shape[::-1] if header.is_fortran else header.shape
    values = _values(file, name, header.dtype, shape, offset=file.tell())
    return values.T if header.is_fortran else values


def npz_from(file: BinaryIO, name: Source) -> tuple[Array, Array | None]:
    """The arrays of an open .npz file; see `read_npz`."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
            others = [member for member in names if member != "labels"]
            if "items" not in names and len(others) != 1:
                found = ", ".join(names) or "no array"
                raise bad_file(name, 0, "an array `items`, or one array beside `labels`", found)
            chosen = "items" if "items" in names else others[0]
            items = _member(archive, chosen, name)
            return items, _member(archive, "labels", name) if "labels" in names else None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as fault:
        raise bad_file(name, 0, "a complete .npz archive", str(fault)) from fault


def _member(archive: zipfile.ZipFile, member: str, name: Source) -> Array:
    with archive.open(f"{member}.npy") as file:
        return npy_from(file, f"{name}/{member}.npy")


def _values(
    file: IO[bytes] | gzip.GzipFile, name: Source, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int
) -> Array:
    """Exactly the values that the header announces, in native byte order."""
    size = math.prod(shape) * dtype.itemsize
    content = _up_to(file, size + 1)
    if len(content) < size:
        raise bad_file(name, offset + len(content), f"{size} bytes of values for shape {shape}", "the end of the file")
    if len(content) > size:
        raise bad_file(name, offset + size, f"the end of the file after shape {shape}", "more bytes")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _up_to(file: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """At most ``size`` bytes, in pieces: a header that lies about its size must not allocate it."""
    pieces, left = [], size
    while left and (piece := file.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
