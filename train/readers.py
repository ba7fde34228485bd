"""Files of items as arrays: IDX (plain or .gz), .npy, .npz, a folder of images of one size.

A file that is not what it should be is refused with its name, the offset of the first wrong byte, what was expected
there and what was found. Nothing is read that the header does not announce: a gzip file cannot grow beyond it.
"""

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from latentwire.runtime.errors import InputFileError

Array = NDArray[Any]

# The third byte of an IDX file (http://yann.lecun.com/exdb/mnist, "the IDX file format"); numbers are big-endian.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
IMAGE_MODES = {"L": np.uint8, "RGB": np.uint8, "I;16": np.uint16}


def bad_file(path: Path, offset: int, expected: str, found: str) -> InputFileError:
    """The error of a file whose first wrong byte is at `offset`."""
    return InputFileError(f"{path}, offset {offset}: expected {expected}, found {found}")


def read_idx(path: Path) -> Array:
    """The array in an IDX file, in native byte order; `.gz` is unpacked on the way."""
    try:
        with path.open("rb") as file:
            packed = path.suffix == ".gz"
            return _read_idx(gzip.GzipFile(fileobj=file) if packed else file, path)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise bad_file(path, 0, "a complete gzip file", str(error)) from error


def _read_idx(file: IO[bytes] | gzip.GzipFile, path: Path) -> Array:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_TYPES or not 1 <= head[3] <= 4:
        expected = "an IDX header (00 00, a type from 08 09 0b 0c 0d 0e, 1 to 4 dimensions)"
        raise bad_file(path, 0, expected, head.hex(" ") or "the end of the file")
    dtype, dimensions = np.dtype(IDX_TYPES[head[2]]), head[3]
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise bad_file(path, 4 + len(sizes), f"{dimensions} dimensions of 4 bytes each", "the end of the file")
    shape = struct.unpack(f">{dimensions}I", sizes)
    return _read_values(file, path, dtype, shape, offset=4 + 4 * dimensions)


def read_npy(path: Path) -> Array:
    """The array in an .npy file; pickled objects are refused."""
    with path.open("rb") as file:
        return _read_npy(file, path)


def _read_npy(file: IO[bytes], path: Path) -> Array:
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
    except ValueError as error:
        raise bad_file(path, 0, "the header of a NumPy array", str(error)) from error
    if dtype.hasobject:
        raise bad_file(path, 0, "an array of numbers", f"dtype {dtype}, which would have to be unpickled")
    values = _read_values(file, path, dtype, shape[::-1] if fortran_order else shape, offset=file.tell())
    return values.T if fortran_order else values


def read_npz(path: Path) -> tuple[Array, Array | None]:
    """The arrays `items` and `labels` in an .npz file; a lone array of another name stands for `items`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            others = [name for name in names if name != "labels"]
            if "items" not in names and len(others) != 1:
                found = ", ".join(names) or "no array"
                raise bad_file(path, 0, "an array `items`, or one array beside `labels`", found)
            chosen = "items" if "items" in names else others[0]
            items = _read_member(archive, chosen, path)
            return items, _read_member(archive, "labels", path) if "labels" in names else None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise bad_file(path, 0, "a complete .npz archive", str(error)) from error


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> Array:
    with archive.open(f"{name}.npy") as file:
        return _read_npy(file, path / f"{name}.npy")


def _read_values(
    file: IO[bytes] | gzip.GzipFile, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int
) -> Array:
    """Exactly the values that the header announces, in native byte order."""
    size = math.prod(shape) * dtype.itemsize
    content = _read_up_to(file, size + 1)
    if len(content) < size:
        raise bad_file(path, offset + len(content), f"{size} bytes of values for shape {shape}", "the end of the file")
    if len(content) > size:
        raise bad_file(path, offset + size, f"the end of the file after shape {shape}", "more bytes")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(file: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """At most `size` bytes, in pieces: a header that lies about its size must not allocate it."""
    pieces, left = [], size
    while left and (piece := file.read(min(left, 1 << 24))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_images(folder: Path) -> Array:
    """The images in a folder, ordered by name: uint8 or uint16 [N, H, W] (grey) or uint8 [N, H, W, 3].

    All must have the size and the mode of the first.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise InputFileError(f"{folder}: expected MNIST's files or images ({' '.join(IMAGE_SUFFIXES)}), found neither")
    images = [_read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            expected = f"{images[0].dtype} {images[0].shape} as in {paths[0].name}"
            raise bad_file(path, 0, expected, f"{image.dtype} {image.shape}")
    return np.stack(images)


def _read_image(path: Path) -> Array:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in IMAGE_MODES:
                raise bad_file(path, 0, f"an image of mode {' or '.join(IMAGE_MODES)}", f"mode {image.mode}")
            return np.asarray(image, dtype=IMAGE_MODES[image.mode])
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise bad_file(path, 0, "an image", str(error)) from error
