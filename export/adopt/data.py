"""Items from whatever somebody keeps them in: `read_data`.

An array is taken as it is, since its dtype becomes the device's. What numbers lose by another dtype, their owner has to
allow; so nothing is cast unless it is asked for, and the note says what was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.export.adopt.cast import Cast, cast_items
from latentwire.export.adopt.outputs import describe, is_tensor
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputFileError, InputShapeError, InputTypeError
from latentwire.runtime.files import read_images, read_items
from latentwire.runtime.files.formats import IMAGE_SUFFIXES

MOST_ITEMS = 60_000
MOST_BYTES = 1 << 30
"""As much as is taken out of a source that hands over one item or batch at a time."""

NAMES = (
    *("items", "x", "data", "input", "inputs", "image", "images", "img", "pixel_values", "input_values", "signal"),
    *("signals", "features", "values", "samples", "series", "audio", "past_values"),
)
"""Keys of a mapping under which items are looked for, preferred first."""


def read_data(data: Any, *, cast: Cast = None) -> tuple[Array, tuple[str, ...], str]:
    """Items [N, ...] of a contract's dtype, notes of what was done to get them, and the dtype that they came in.

    Args:
        data: an array or tensor [N, ...]; the path of a file (.npy, .npz, IDX, a table, an image) or of a folder of
            images of one size; a DataFrame; a DataLoader; a Dataset or anything else that is iterated item by item.
            An element may be a tuple, whose first is the item, or a mapping.
        cast: True changes other dtypes to one of a contract: floats to float32, integers to the smallest that holds
            them all. A name (float32, uint8, int16, uint16) says which. None refuses.

    Returns:
        The items, sentences for the report, and the dtype's name. Of a source that is iterated, at most the first
        60 000 items and 1 GiB.

    Raises:
        InputTypeError: another dtype and no ``cast``, or values that the dtype does not hold, or no numbers.
        InputShapeError: no items, or of several shapes.
        InputFileError: a file that cannot be read.
    """
    items, notes = _collect(data)
    if not items.dtype.isnative:
        items = items.astype(items.dtype.newbyteorder("="))
    source = items.dtype.name
    items, cast_notes = cast_items(items, cast)
    if items.ndim < 2 or 0 in items.shape:
        raise InputShapeError(
            f"expected items [N, ...], at least one value in each, found shape {list(items.shape)}: give one number an "
            "item as [N, 1]"
        )
    return items, (*notes, *cast_notes), source


def _collect(data: Any) -> tuple[Array, tuple[str, ...]]:
    if isinstance(data, str | Path):
        return _from_path(Path(data))
    if is_tensor(data):
        return to_array(data), ()
    if hasattr(data, "select_dtypes"):
        return _from_frame(data)
    if isinstance(data, Mapping):
        name, values = _of_mapping(data)
        items, notes = _collect(values)
        return items, (f"data: the values of {name!r}", *notes)
    if hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
        return _from_elements(data)
    raise InputTypeError(
        f"expected items as an array, a tensor, a path, a DataFrame, a DataLoader or a Dataset, found "
        f"{type(data).__name__}"
    )


def to_array(value: Any) -> Array:
    """A tensor of any library as a NumPy array.

    Raises:
        InputTypeError: its numbers have no counterpart in NumPy.
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            raise InputTypeError("expected numbers that NumPy has, found bfloat16: give data.float()")
    return np.asarray(value)


def _from_path(path: Path) -> tuple[Array, tuple[str, ...]]:
    if not path.exists():
        raise InputFileError(f"{path}: expected a file or a folder of items, found nothing")
    if path.is_dir():
        images = read_images(path)
        return images, (f"data: {len(images)} images of {path.name}/",)
    items = read_items(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return items[None], (f"data: {path.name}, one item",)
    if items.dtype == np.float64 and path.suffix.lower() not in (".npy", ".npz"):
        # Text has no dtype: reading it as float32 casts nothing that anybody had.
        return items.astype(np.float32), (f"data: the table {path.name}, as float32",)
    return items, (f"data: {path.name}",)


def _from_frame(frame: Any) -> tuple[Array, tuple[str, ...]]:
    """The numeric columns of a pandas DataFrame, [rows, columns]."""
    numeric = frame.select_dtypes("number")
    left = [str(name) for name in frame.columns if name not in numeric.columns]
    if not len(numeric.columns):
        raise InputTypeError(f"expected a DataFrame with columns of numbers, found {', '.join(left) or 'no column'}")
    note = f"data: {len(numeric.columns)} columns of a DataFrame"
    return numeric.to_numpy(), (f"{note}; left out as they are no numbers: {', '.join(left)}" if left else note,)


def _from_elements(source: Any) -> tuple[Array, tuple[str, ...]]:
    """Items of what is iterated: batches of a DataLoader, one item an element of anything else."""
    are_batches = getattr(source, "batch_size", None) is not None
    said: dict[str, None] = {}
    pieces: list[Array] = []
    count = size = 0
    is_whole = True
    for element in _elements(source):
        piece = _array_of(element, said)
        piece = piece if are_batches else piece[None]
        if pieces and piece.shape[1:] != pieces[0].shape[1:]:
            raise InputShapeError(
                f"expected items of one shape, found {list(pieces[0].shape[1:])} and, as item {count}, "
                f"{list(piece.shape[1:])}: bring them to one size"
            )
        if count + len(piece) > MOST_ITEMS or size + piece.nbytes > MOST_BYTES:
            is_whole = False
            piece = piece[: MOST_ITEMS - count] if size + piece.nbytes <= MOST_BYTES else piece[:0]
            pieces += [piece] if len(piece) else []
            count += len(piece)
            break
        pieces.append(piece)
        count, size = count + len(piece), size + piece.nbytes
    if not pieces:
        raise InputShapeError(f"expected items, found a {type(source).__name__} without any")
    kind = type(source).__name__
    how = f"data: {'' if is_whole else 'the first '}{count} items of a {kind}"
    more = "" if is_whole else f"; no more than {MOST_ITEMS} items and {MOST_BYTES >> 30} GiB are taken"
    return np.concatenate(pieces), (how + more, *said)


def _elements(source: Any) -> Iterator[Any]:
    """One after another; a map-style Dataset has a length and no iterator that ends."""
    if hasattr(source, "__iter__"):
        yield from source
    elif hasattr(source, "__len__"):
        yield from (source[index] for index in range(len(source)))
    else:
        yield from _until_end(source)


def _until_end(source: Any) -> Iterator[Any]:
    for index in itertools.count():
        try:
            yield source[index]
        except IndexError:
            return


def _array_of(element: Any, said: dict[str, None]) -> Array:
    """The item, or the batch of items, in an element."""
    if is_tensor(element):
        return to_array(element)
    if isinstance(element, Mapping):
        name, value = _of_mapping(element)
        said[f"of each element the value of {name!r}"] = None
        return _array_of(value, said)
    if isinstance(element, tuple | list) and element and not isinstance(element[0], int | float | list):
        if len(element) > 1:
            said[f"of each element the first of {len(element)}"] = None
        return _array_of(element[0], said)
    if isinstance(element, Iterable) or hasattr(element, "__array_interface__"):  # lists of numbers, Pillow's images
        values = np.asarray(element)
        if values.dtype.kind in "biuf":
            return values
    raise InputTypeError(f"expected elements that are arrays, tuples or mappings of such, found {describe(element)}")


def _of_mapping(element: Mapping[Any, Any]) -> tuple[Any, Any]:
    by_name = {str(key).lower(): key for key in element}
    for name in NAMES:
        if name in by_name:
            return by_name[name], element[by_name[name]]
    arrays = [key for key, value in element.items() if is_tensor(value) and math.prod(value.shape) > 1]
    if len(arrays) == 1:
        return arrays[0], element[arrays[0]]
    raise InputTypeError(
        f"expected a mapping with the items under a name such as {', '.join(NAMES[:5])}, found "
        f"{', '.join(map(str, element))}"
    )
