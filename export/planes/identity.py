"""A model's codec id, and what its packets take."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.planes.book import TOTAL, Book
from latentwire.export.planes.protocol import PlaneModel
from latentwire.runtime.contract import QUALITIES
from latentwire.runtime.wire import PACKET_VERSION, Cost

STATES = "32 bits, tables of 16"
"""How lanes count: what counts otherwise is another codec."""
UNITS = 256
"""Bits are counted in 1/256."""
IDEAL = 800
"""Ideal bytes that a lane has at most, where there are fewer than all lanes; encoders stay below."""
ESCAPE_BYTES = 5
SLACK = 32


def codec_id(model: PlaneModel) -> bytes:
    """SHA-256 over the contract."""
    parts: dict[str, npt.NDArray[Any]] = {**model.contract(), **model.book.arrays("book")}
    head = {
        "packet_version": PACKET_VERSION,
        "family": model.family,
        "states": STATES,
        "block": model.block,
        "planes": [[plane.channels, plane.stride, plane.always] for plane in model.planes],
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in parts.items()},
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(parts):
        digest.update(np.ascontiguousarray(parts[name]).tobytes())
    return digest.digest()


def cost_of(model: PlaneModel) -> Cost:
    """What packets take: see `latentwire.runtime.wire.cost`, whose reckoning this is for tables of 16 bits."""
    least = least_units(model.book)
    cells = [(model.block // plane.stride) ** 2 for plane in model.planes]
    rows = [model.least_rows(quality) for quality in range(QUALITIES)]
    sums = [
        sum(each * int(least[list(found)].sum()) for each, found in zip(cells, by_plane, strict=True) if found)
        for by_plane in rows
    ]
    elements = [each * plane.channels for each, plane in zip(cells, model.planes, strict=True)]
    certain = sum(each for each, plane in zip(elements, model.planes, strict=True) if plane.always)
    return Cost(
        blocks=(model.block, model.block, 0),
        coded=(certain,) * QUALITIES,
        least=tuple(sums),
        elements=sum(elements),
        lane_bytes=most_lane_bytes(model.book),
    )


def least_units(book: Book) -> npt.NDArray[np.int64]:
    """Bits in 1/256, rounded down, that any symbol of each row takes at least, int64 [rows]; 0 for the certain row.

    A state x that takes a symbol of frequency f grows by no less than (65536 + f - 1) / (2 f - 1), since x // f may
    be 1.
    """
    likeliest = np.maximum.reduceat(book.frequency, book.first).astype(np.float64)
    growth = (TOTAL + likeliest - 1) / (2 * likeliest - 1)
    units = np.floor(UNITS * np.log2(np.maximum(growth, 1)) - 1e-6).astype(np.int64)
    return np.where(np.arange(len(units)) > 0, np.maximum(units, 0), 0)


def most_lane_bytes(book: Book) -> int:
    """Bytes behind the states that a lane carries at most."""
    likeliest = max((int(row.frequency[-1]) for row in book.rows), default=1)
    listed = 8 * IDEAL / max(np.log2(TOTAL / likeliest), 1 / UNITS) * ESCAPE_BYTES
    # Symbols that lie at the end of their row take up to an eighth of a bit more than ideal.
    return int(np.ceil(1.5 * IDEAL + listed)) + SLACK
