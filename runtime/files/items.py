"""Items from files, from a folder of images and from standard input, in the shape of a contract.

A file is what its first bytes say, whatever it is called: an array, a table or an image. Only values without any header
go by their suffix.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputFileError, InputShapeError, SettingError
from latentwire.runtime.files.arrays import Source, array_from, bad_file, holds_array
from latentwire.runtime.files.formats import RAW_SUFFIXES, image_files
from latentwire.runtime.files.images import image_from
from latentwire.runtime.files.tables import as_contract, holds_table, table_from


def read_items(path: Path) -> Array:
    """The items in a file of any kind that is known here, told by its first bytes; labels are left out.

    Raises:
        InputFileError: the file cannot be read as any of them.
        MissingExtraError: it is an image, and Pillow is not installed.
    """
    with _opened(path) as file:
        return items_from(file, path)


def items_from(file: BinaryIO, name: Source) -> Array:
    """Like `read_items`, from an open file that can seek.

    Raises:
        InputFileError: see `read_items`.
        MissingExtraError: see `read_items`.
    """
    if holds_array(file):
        return array_from(file, name)[0]
    return table_from(file, name) if holds_table(file, name) else image_from(file, name)


def read_labelled(path: Path) -> tuple[Array, Array | None]:
    """(Items [N, ...], one label for each or None) of a file; an image is one item, only an .npz brings labels.

    The numbers of a table are float64.

    Raises:
        InputFileError: see `read_items`.
        MissingExtraError: see `read_items`.
    """
    with _opened(path) as file:
        if holds_array(file):
            return array_from(file, path)
        return (table_from(file, path) if holds_table(file, path) else image_from(file, path)[None]), None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault


def read_images(folder: Path) -> Array:
    """The images in a folder, ordered by name: uint8 or uint16 [N, H, W] (grey) or uint8 [N, H, W, 3].

    All must have the size and the mode of the first.

    Raises:
        InputFileError: there are none, one cannot be read, or they differ in size or mode.
        MissingExtraError: Pillow is not installed.
    """
    paths = image_files(folder, below=False)
    images = [read_items(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            expected = f"{images[0].dtype} {images[0].shape} as in {paths[0].name}"
            raise bad_file(path, 0, expected, f"{image.dtype} {image.shape}")
    return np.stack(images)


def load_items(path: Path, contract: ItemContract, columns: Sequence[str] = ()) -> Array:
    """The items of a file in the contract's shape: .npy, .npz, IDX, table, image, or .raw and .bin without any header.

    The numbers of a table take the contract's dtype; all others keep theirs.

    Args:
        path: of the file.
        contract: of the items.
        columns: of a table, by their names or places from 1; all if empty.

    Raises:
        InputFileError: the file cannot be read.
        SettingError: columns of what is no table, or that it does not have.
        InputShapeError: what it holds cannot be seen as items of that shape.
        MissingExtraError: it is an image, and Pillow is not installed.
    """
    with _opened(path) as file:
        if path.suffix.lower() in RAW_SUFFIXES:
            return conform(raw_items(file.read(), contract, str(path)), contract, str(path))
        return _conformed(file, path, contract, columns)


def _conformed(file: BinaryIO, name: Source, contract: ItemContract, columns: Sequence[str]) -> Array:
    if holds_table(file, name):
        items = as_contract(table_from(file, name, columns), contract, str(name))
    elif columns:
        raise SettingError(f"{name}: expected a table, of which columns can be chosen, found another kind of file")
    else:
        items = items_from(file, name)
    return conform(items, contract, str(name))


def items_from_stdin(source: BinaryIO, contract: ItemContract, raw: bool, columns: Sequence[str] = ()) -> Array:
    """The items that arrive on standard input: raw values, or a whole file of any kind that has a header.

    Raises:
        InputError: as in `load_items`.
    """
    data = source.read()
    if raw:
        return conform(raw_items(data, contract, "stdin"), contract, "stdin")
    return _conformed(io.BytesIO(data), "stdin", contract, columns)


def raw_items(data: bytes, contract: ItemContract, name: str) -> Array:
    """Values without a header, little-endian, item after item; one axis of length N * item.

    Raises:
        InputFileError: the bytes are not whole items.
    """
    if not data or len(data) % contract.item_bytes:
        raise InputFileError(f"{name}: expected whole items of {contract.item_bytes} bytes, found {len(data)} bytes")
    return np.frombuffer(data, contract.numpy_dtype.newbyteorder("<")).astype(contract.numpy_dtype, copy=False)


def conform(items: Array, contract: ItemContract, name: str) -> Array:
    """The same values, cast, as [N, ...] of the contract: images become vectors, one item becomes a batch of one.

    Raises:
        InputShapeError: the values cannot be cut into items.
    """
    items = contract.cast(items)
    if contract.fits(items.shape):
        return items
    one = contract.shape[1:]
    lengths = [axis for axis in one if isinstance(axis, int)]
    if isinstance(contract.shape[0], str) and len(lengths) == len(one) and items.size:
        several = math.prod(items.shape[1:]) == math.prod(lengths) and items.ndim > 1
        flat = items.ndim == 1 and items.size % math.prod(lengths) == 0
        if several or flat or items.size == math.prod(lengths):
            return items.reshape(-1, *lengths)
    raise InputShapeError(f"{name}: expected items as {contract.describe_shape()}, found shape {list(items.shape)}")
