"""What a decoder's own tables say that its packets take, read off its ONNX file: no bundle needs to say it again.

The coder's tables are initializers of the graph under names of their own, in an assembly behind a prefix. Only these
are read, by the field numbers of onnx/onnx.proto. A decoder without them, such as one written by hand, has no known
cost.
"""

from __future__ import annotations

import numpy as np

from latentwire.runtime.bundle.onnxfile import MODEL_FIELDS, wire_fields
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import ManifestError
from latentwire.runtime.wire import FREQUENCY_SUM, Cost, cost_of_indices, cost_of_items, cost_of_pictures

PREFIX = "first/"
"""Of the coder's initializers in an assembly, whose first part it is."""
PICTURES = ("hyper_curve", "hyper_index", "hyper_frequency", "frequency", "gain")
ITEMS = ("index", "frequency")
INDICES = ("index_planes", "certain_elements", "least_bits")
"""Of indices into codebooks the graph's own bounds, from more tables than are read here."""
QUALITIES = 256
_INITIALIZER = 5
_DIMS, _DTYPE, _NAME, _RAW = 1, 2, 8, 9
_DTYPES = {1: "<f4", 2: "<u1", 4: "<u2", 7: "<i8"}


def read_cost(model: bytes, where: str, dimensions: int) -> Cost | None:
    """What packets take by the tables of a decoder or of its unpack piece; None where nobody can tell.

    A static model of content of several dimensions counts its positions in a way that only its graph knows; with one
    dimension every item is a position or more.

    Args:
        model: the ONNX file's bytes.
        where: its name, for messages.
        dimensions: of the packet's size.

    Raises:
        ManifestError: this is no ONNX file, or its tables are not those of a coder.
    """
    tensors = _tensors(model, where)
    names = PICTURES if "hyper_index" in tensors else INDICES if "index_planes" in tensors else ITEMS
    if not all(name in tensors for name in names):
        return None
    tables = {name: _array(tensors[name], f"{where}, table {name!r}") for name in names}
    if dimensions != (3 if names is PICTURES else 1):
        return None
    if names is INDICES:
        certain, least = (tables[name] for name in INDICES[1:])
        _check_bounds(certain, least, where)
        return cost_of_indices(certain, least)
    if names is ITEMS:
        index, frequency = (tables[name] for name in ITEMS)
        _check_rows(index, frequency, where)
        return cost_of_items(index, frequency)
    curve, index, hyper_frequency, frequency, gain = (tables[name] for name in PICTURES)
    _check_rows(curve[:, None], index, where)
    _check_rows(index[curve], hyper_frequency, where)
    _check_rows(np.zeros((QUALITIES, 1), int), frequency, where)
    return cost_of_pictures(curve, index, hyper_frequency, frequency, gain.shape[1])


def _check_rows(rows: Array, table: Array, where: str) -> None:
    """Rows [256, C] of a table are there, so that a look-up stays inside; and a table has numbers of 12 bits."""
    if rows.ndim != 2 or len(rows) != QUALITIES or table.ndim != 2 or not rows.size or not table.size:
        raise ManifestError(f"{where}: expected a coder's tables for {QUALITIES} qualities, found other shapes")
    if rows.min() < 0 or rows.max() >= len(table) or table.min() < 0 or table.max() > FREQUENCY_SUM:
        raise ManifestError(f"{where}: expected a coder's tables that fit each other, found rows that are not there")


def _check_bounds(certain: Array, least: Array, where: str) -> None:
    """Bounds of what an item takes are numbers [256], none of them negative and some of them not 0."""
    if not all(part.shape == (QUALITIES,) and 0 <= part.min() <= part.max() < 1 << 31 for part in (certain, least)):
        raise ManifestError(f"{where}: expected what an item takes at {QUALITIES} qualities, found other numbers")
    if not certain.all():
        raise ManifestError(f"{where}: expected items of one index or more at every quality, found none")


def _tensors(model: bytes, where: str) -> dict[str, memoryview]:
    """The initializers that may be the coder's, by name without prefix, not yet read."""
    found = {}
    graphs = [field.value for field in wire_fields(model, where) if MODEL_FIELDS.get(field.number) == "graph"]
    for graph in graphs:
        if not isinstance(graph, memoryview):
            continue
        for field in wire_fields(graph, where):
            if field.number == _INITIALIZER and isinstance(field.value, memoryview):
                name = next((part.text for part in wire_fields(field.value, where) if part.number == _NAME), "")
                name = name.removeprefix(PREFIX)
                if name in (*PICTURES, *ITEMS, *INDICES):
                    found[name] = field.value
    return found


def _array(tensor: memoryview, where: str) -> Array:
    """A TensorProto's numbers."""
    dims: list[int] = []
    raw, dtype = memoryview(b""), ""
    for part in wire_fields(tensor, where):
        if part.number == _RAW and isinstance(part.value, memoryview):
            raw = part.value
        elif part.number == _DTYPE and isinstance(part.value, int):
            dtype = _DTYPES.get(part.value, "")
        elif part.number == _DIMS and isinstance(part.value, int):
            dims.append(part.value)
    if not dtype or len(raw) != np.prod(dims, dtype=np.float64) * np.dtype(dtype).itemsize:
        raise ManifestError(
            f"{where}: expected numbers as raw bytes, found {len(raw)} bytes for {dims}: export it anew"
        )
    return np.frombuffer(raw, dtype).reshape(dims)
