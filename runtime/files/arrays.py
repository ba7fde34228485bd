"""Files of items as arrays: IDX (plain or .gz), .npy, .npz, images.

A file that is not what it should be is refused with its name, the offset of the first wrong byte, what was expected
there and what was found. Nothing is read that the header does not announce: a gzip file cannot grow beyond it.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputFileError, MissingExtraError

# The third byte of an IDX file (http://yann.lecun.com/exdb/mnist, "the IDX file format"); numbers are big-endian.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
IMAGE_MODES = {"L": np.uint8, "RGB": np.uint8, "I;16": np.uint16}
NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC, IDX_MAGIC = b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b", b"\0\0"
_PIECE = 1 << 24

Source = str | Path
"""A file's path, or a name that stands for it in messages."""


def bad_file(name: Source, offset: int, expected: str, found: str) -> InputFileError:
    """The error of a file whose first wrong byte is at ``offset``."""
    return InputFileError(f"{name}, offset {offset}: expected {expected}, found {found}")


def read_items(path: Path) -> Array:
    """The items in a file of any kind that is known here, told by its first bytes; labels are left out.

    Raises:
        InputFileError: the file cannot be read as any of them.
        MissingExtraError: it is an image, and Pillow is not installed.
    """
    try:
        with path.open("rb") as file:
            return items_from(file, path)
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault


def items_from(file: BinaryIO, name: Source) -> Array:
    """Like `read_items`, from an open file that can seek.

    Raises:
        InputFileError: see `read_items`.
        MissingExtraError: see `read_items`.
    """
    head = file.read(len(NPY_MAGIC))
    file.seek(0)
    if head == NPY_MAGIC:
        return npy_from(file, name)
    if head.startswith(ZIP_MAGIC):
        return npz_from(file, name)[0]
    if head.startswith((GZIP_MAGIC, IDX_MAGIC)):
        return idx_from(file, name)
    return image_from(file, name)


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


def read_images(folder: Path) -> Array:
    """The images in a folder, ordered by name: uint8 or uint16 [N, H, W] (grey) or uint8 [N, H, W, 3].

    All must have the size and the mode of the first.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise InputFileError(f"{folder}: expected images ({' '.join(IMAGE_SUFFIXES)}), found none")
    images = [read_items(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            expected = f"{images[0].dtype} {images[0].shape} as in {paths[0].name}"
            raise bad_file(path, 0, expected, f"{image.dtype} {image.shape}")
    return np.stack(images)


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
    if len(head) < 4 or head[:2] != IDX_MAGIC or head[2] not in IDX_TYPES or not 1 <= head[3] <= 4:
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
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
    except ValueError as fault:
        raise bad_file(name, 0, "the header of a NumPy array", str(fault)) from fault
    if dtype.hasobject:
        raise bad_file(name, 0, "an array of numbers", f"dtype {dtype}, which would have to be unpickled")
    values = _values(file, name, dtype, shape[::-1] if fortran_order else shape, offset=file.tell())
    return values.T if fortran_order else values


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


def image_from(file: BinaryIO, name: Source) -> Array:
    """An open image: uint8 or uint16 [H, W] (grey), or uint8 [H, W, 3].

    Raises:
        InputFileError: this is no image that Pillow reads, or of another mode.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"{name}: expected .npy, .npz or IDX, found another kind of file; images need the image extra: "
            "pip install 'latentwire[image]'"
        ) from fault
    try:
        with Image.open(io.BytesIO(file.read())) as image:
            if image.mode not in IMAGE_MODES:
                raise bad_file(name, 0, f"an image of mode {' or '.join(IMAGE_MODES)}", f"mode {image.mode}")
            return np.asarray(image, dtype=IMAGE_MODES[image.mode])
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        if isinstance(fault, InputFileError):
            raise
        raise bad_file(name, 0, "an array or an image", str(fault)) from fault
