"""What the command line reads and writes: items for a contract, results, and files that appear whole or not at all."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputFileError, InputShapeError, SettingError
from latentwire.runtime.png import PngRows
from latentwire.runtime.readers import items_from, read_items

FORMATS = ("npy", "raw", "png")
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


@contextmanager
def whole_file(path: Path, *, durable: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """A new file that gets its name when the block ends without an error, and is removed otherwise.

    Args:
        path: of the file; one that is there is replaced.
        durable: its bytes and its name are on the disk when the block has ended.
        private: only its owner may read it, from its first byte on.

    Raises:
        InputFileError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        file = open(temporary, "wb", opener=_open_private if private else None)  # noqa: SIM115 # closed below
    except OSError as fault:
        raise InputFileError(f"{path}: expected a folder that can be written to, found {fault}") from fault
    try:
        with file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Where folders cannot be opened, as on Windows, the system sees to it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
