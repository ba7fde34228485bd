"""Files as pictures uint8 [H, W, C], C 1 or 3: arrays as they are, all others as `images` reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputChoiceError, InputFileError
from latentwire.runtime.files.arrays import NPY_MAGIC, array_from, bad_file, holds_array
from latentwire.runtime.files.formats import RAW_SUFFIXES, image_files
from latentwire.runtime.files.images import PLAIN, PictureOptions, pixels_from
from latentwire.runtime.npyheader import read_npy_header

_PLAIN_PNM = re.compile(rb"\AP([56])\s+(\d{1,10})\s+(\d{1,10})\s+255\s")


def load_picture(path: Path, options: PictureOptions) -> Array:
    """The picture in a file: .npy and plain .ppm and .pgm are mapped, not read; all others by Pillow.

    Raises:
        InputFileError: the file cannot be read as a picture, or not without losing something.
        InputLimitError: it has more pixels than one packet may hold.
        MissingExtraError: it needs Pillow, which is not installed.
        SettingError: an unknown colour.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        raise InputFileError(f"{path}: expected a picture, found values without a size: use .npy or an image file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(0)
            mapped = _mapped(path, head)
            return mapped if mapped is not None else picture_from(file, str(path), options)
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault


def _mapped(path: Path, head: bytes) -> Array | None:
    """An array whose bytes stay in the file until they are needed; None for other kinds of files."""
    try:
        if head.startswith(NPY_MAGIC):
            return _mapped_array(path)
        plain = _PLAIN_PNM.match(head)
        if plain is None:
            return None
        kind, width, height = (int(group) for group in plain.groups())
        shape = (height, width, 1 if kind == 5 else 3)
        return np.memmap(path, np.uint8, "r", offset=plain.end(), shape=shape)
    except (ValueError, OverflowError) as fault:  # numpy says so where the file is shorter than its header tells
        raise bad_file(path, 0, "a whole picture", str(fault)) from fault


def _mapped_array(path: Path) -> Array:
    with path.open("rb") as file:
        header = read_npy_header(file)
        return np.memmap(path, header.dtype, "r", file.tell(), header.shape, header.order)


def picture_from(file: BinaryIO, name: str, options: PictureOptions) -> Array:
    """Like `load_picture`, from an open file that can seek.

    Raises:
        InputError: see `load_picture`.
        MissingExtraError: see `load_picture`.
        SettingError: see `load_picture`.
    """
    if holds_array(file):
        return array_from(file, name)[0]
    pixels = pixels_from(file, name, options)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_pictures(
    source: Path, options: PictureOptions = PLAIN, bad: list[InputFileError] | None = None
) -> list[Array]:
    """Like `each_picture`, all in memory."""
    return list(each_picture(source, options, bad))


def each_picture(
    source: Path, options: PictureOptions = PLAIN, bad: list[InputFileError] | None = None
) -> Iterator[Array]:
    """A picture, or all pictures below a folder in order of their paths, in colour: uint8 [H, W, 3] each.

    A grey picture becomes three equal channels.

    Args:
        source: a file or a folder.
        options: what may be done to pictures.
        bad: files of a folder that are damaged, or that nobody could show for certain, are left out and their errors
            put here, as long as there are no more of them than of the others; None takes the first for an error.
            Those that an option would let in are errors in any case.

    Raises:
        InputFileError: there are none, or one cannot be read or not without losing something; names it.
        MissingExtraError: see `load_picture`.
        SettingError: see `load_picture`.
    """
    good, faults = 0, [] if bad is None else bad
    for path in image_files(source, below=True) if source.is_dir() else [source]:
        try:
            picture = in_colour(load_picture(path, options), path)
        except InputChoiceError:
            raise
        except InputFileError as fault:
            if bad is None or not source.is_dir():
                raise
            faults.append(fault)
            continue
        good += 1
        yield picture
    if len(faults) > good:
        raise InputFileError(
            f"{source}: expected pictures, most of which can be read, found {len(faults)} that cannot beside "
            f"{good} that can; the first of them: {faults[0]}"
        )


def in_colour(picture: Array, name: Path) -> Array:
    """A picture uint8 [H, W], [H, W, 1] or [H, W, 3] in memory of its own: uint8 [H, W, 3].

    Raises:
        InputFileError: the array of the file called ``name`` is no such picture.
    """
    channels = picture[..., None] if picture.ndim == 2 else picture
    if channels.dtype != np.uint8 or channels.ndim != 3 or channels.shape[2] not in (1, 3) or not channels.size:
        expected = "a picture uint8 [H, W], [H, W, 1] or [H, W, 3]"
        raise bad_file(name, 0, expected, f"{picture.dtype} {list(picture.shape)}")
    return np.array(np.broadcast_to(channels, (*channels.shape[:2], 3)), order="C")
