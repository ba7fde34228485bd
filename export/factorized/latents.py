"""From float latents to integer symbols and back, and the static probability model that names each symbol's table row.

Rounding is the one place where floats decide anything, and it decides only which symbols are SENT. Everything that
selects a probability, on either side, is an integer look-up by (quality, channel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latentwire.export.factorized.tables import CodecTables
from latentwire.export.graph import FLOAT, INT64, MAX_MAGNITUDE, Op, Value, code_lengths, count, flat, table


def quantize(op: Op, tables: CodecTables, rows: Value, quality: Value) -> Value:
    """Symbols int64 [P, C] of latents float32 [P, C]: sign(v) * floor(|v| + rounding), v = (latent - centre) * gain."""
    gain = op.Gather(table(op, tables.gain, "gain"), quality)
    scaled = op.Mul(op.Sub(rows, table(op, tables.centre, "centre")), gain)
    offset = op.Gather(table(op, tables.rounding, "rounding"), quality)
    magnitude = op.Min(op.Floor(op.Add(op.Abs(scaled), offset)), float(MAX_MAGNITUDE))
    # The second clip catches what a cast makes of NaN, which differs between processors.
    steps = op.Clip(op.Cast(magnitude, to=INT64), 0, MAX_MAGNITUDE)
    return op.Where(op.Less(scaled, 0.0), op.Neg(steps), steps)  # type: ignore[no-any-return]


def dequantize(op: Op, tables: CodecTables, symbols: Value, quality: Value) -> Value:
    """Latents float32 [P, C]: (symbol + sign(symbol) * shift) / gain + centre."""
    gain = op.Gather(table(op, tables.gain, "gain"), quality)
    shift = op.Gather(table(op, tables.shift, "shift"), quality)
    values = op.Cast(symbols, to=FLOAT)
    moved = op.Add(values, op.Mul(op.Sign(values), shift))
    return op.Add(op.Div(moved, gain), table(op, tables.centre, "centre"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Elements:
    """Where the coded elements of [P, C] are and which table row each uses."""

    coded: Value
    """bool [P * C]: false where the row is 0, the certain one, which is not coded."""
    rows: Value
    """int64 [n], the row of each coded element in order."""
    number: Value
    """n, int64 scalar."""


def static_elements(op: Op, tables: CodecTables, quality: Value, shape: Value) -> Elements:
    """The static probability model: the row depends on quality and channel only. ``shape`` is int64 [2], [P, C]."""
    index = op.Cast(op.Gather(table(op, tables.index, "index"), quality), to=INT64)
    rows = flat(op, op.Expand(index, shape))
    coded = op.Greater(rows, 0)
    return Elements(coded=coded, rows=op.Compress(rows, coded), number=count(op, coded))


def encoder_entries(table_rows: npt.NDArray[np.uint16]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """What the encoder looks up for each (row, column): frequency | start << 16 | cost << 32 | escaped << 48.

    int64 [D, S + 1]: column 0 and column S stand for values below and above the table, columns 1 .. S - 1 for its
    symbols. Whatever the table does not hold has the escape's frequency, start and cost, and the escape flag set.
    """
    frequency = table_rows.astype(np.int64)
    start = np.cumsum(frequency, 1) - frequency
    packed = frequency | start << 16 | code_lengths(table_rows) << 32
    escape = packed[:, -1:] | 1 << 48
    known = np.where(frequency[:, :-1] > 0, packed[:, :-1], escape)
    return np.ascontiguousarray(np.concatenate([escape, known, escape], axis=1))


def restore(op: Op, elements: Elements, decoded: Value) -> Value:
    """Scatter ``decoded`` int64 [m >= max(n, 1)] to int64 [P * C], zero where nothing was coded."""
    order = op.CumSum(op.Cast(elements.coded, to=INT64), 0, exclusive=1)
    last = op.Sub(op.Size(decoded), 1)
    return op.Where(elements.coded, op.Gather(decoded, op.Min(order, last)), 0)  # type: ignore[no-any-return]
