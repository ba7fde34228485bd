"""What the command line reads and writes: items for a contract, results, and files that appear whole or not at all."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputFileError, InputShapeError
from latentwire.runtime.files.arrays import items_from, read_items

RAW_SUFFIXES = (".raw", ".bin")


def load_items(path: Path, contract: ItemContract) -> Array:
    """The items of a file in the contract's shape: .npy, .npz, IDX, image, or .raw and .bin without any header.

    Raises:
        InputFileError: the file cannot be read.
        InputShapeError: what it holds cannot be seen as items of that shape.
        MissingExtraError: it is an image, and Pillow is not installed.
    """
    if path.suffix.lower() not in RAW_SUFFIXES:
        return conform(read_items(path), contract, str(path))
    try:
        return conform(raw_items(path.read_bytes(), contract, str(path)), contract, str(path))
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault


def items_from_stdin(source: BinaryIO, contract: ItemContract, raw: bool) -> Array:
    """The items that arrive on standard input: raw values, or a whole file of any kind that has a header.

    Raises:
        InputError: as in `load_items`.
    """
    data = source.read()
    items = raw_items(data, contract, "stdin") if raw else items_from(io.BytesIO(data), "stdin")
    return conform(items, contract, "stdin")


def raw_items(data: bytes, contract: ItemContract, name: str) -> Array:
    """Values without a header, little-endian, item after item; one axis of length N * item.

    Raises:
        InputFileError: the bytes are not whole items.
    """
    if not data or len(data) % contract.item_bytes:
        raise InputFileError(f"{name}: expected whole items of {contract.item_bytes} bytes, found {len(data)} bytes")
    return np.frombuffer(data, contract.numpy_dtype.newbyteorder("<")).astype(contract.numpy_dtype, copy=False)


def conform(items: Array, contract: ItemContract, name: str) -> Array:
    """The same values as [N, ...] of the contract: images become vectors, one item becomes a batch of one.

    Raises:
        InputShapeError: the values cannot be cut into items.
    """
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
