"""The integer piece of the encoder: latents to a packet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from latentwire.export.graph import escapes, rans, wire
from latentwire.export.graph.builder import (
    FLOAT,
    INT32,
    INT64,
    UINT8,
    Op,
    Value,
    build_model,
    flat,
    little_endian,
    number,
    table,
    value,
)
from latentwire.export.image import prior
from latentwire.export.image.tables import SIXTEENTHS, ImageTables
from latentwire.export.tables import TOTAL, code_lengths
from latentwire.runtime.packet import MAX_LANES_LOG2

SYMBOL_LIMIT = (1 << 23) - 1
"""Symbols are clipped to this magnitude, so that one and its table row share 32 bits."""
ROW_WEIGHT = 1 << 24
COST = "ideal_cost"
SENT = "sent/"
"""Prefix of the names of the symbols of each stage, hyper-latents first."""
BYTES_PER_LANE = 200
"""Half of the dense family's: pictures have many symbols, and half the steps are worth 0.75 % of the bytes."""


def build_pack(tables: ImageTables, codec_id: bytes) -> onnx.ModelProto:
    """Latents float32 [1, L, h, w], quality uint8 [], size int64 [3] -> packet uint8 [n]."""

    def trace(op: Op, latent: Value, quality: Value, size: Value) -> Sequence[Value]:
        level = op.Cast(quality, to=INT64)
        cells = prior.grid(op, size)
        rows = op.Reshape(op.Transpose(latent, perm=[0, 2, 3, 1]), [-1, tables.latents])
        scaled = op.Mul(rows, prior.gain_at(op, tables, level))
        writer = Writer(op, tables)
        hyper = writer.code_hyper(prior.hyper_analysis(op, tables, scaled, cells), level)
        prior.run_stages(op, tables, hyper, level, cells, lambda found: writer.code(found, scaled))
        body, lanes_log2 = writer.finish()
        return [wire.write_packet(op, codec_id, 3, level, size, lanes_log2, body)]

    inputs = [
        value("latents", FLOAT, [1, tables.latents, "latent_height", "latent_width"]),
        value("quality", UINT8, []),
        value("size", INT64, [3]),
    ]
    return build_model(trace, inputs, [value("packet", UINT8, ["packet_bytes"])], "pack")


def entries(op: Op, tables: ImageTables) -> Value:
    """`latents.encoder_entries`, flat, computed from the frequencies when the session is created: a smaller file."""
    frequency = table(op, tables.frequency, "frequency")
    wide = op.Cast(frequency, to=INT64)
    start = op.CumSum(wide, number(op, 1), exclusive=1)
    lengths = op.Cast(table(op, code_lengths(np.arange(TOTAL + 1)).astype(np.uint16), "code_lengths"), to=INT64)
    packed = op.Add(op.Add(wide, op.Mul(start, 1 << 16)), op.Mul(op.Gather(lengths, wide), 1 << 32))
    last = op.Slice(packed, [-1], [1 << 31], [1])
    escape = op.Add(last, 1 << 48)
    symbols = op.Slice(packed, [0], [-1], [1])
    known = op.Where(op.Greater(op.Slice(wide, [0], [-1], [1]), 0), symbols, escape)
    return flat(op, op.Concat(escape, known, escape, axis=1))


class Writer:
    """Collects the coded elements of hyper-latents and stages; `finish` entropy-codes them all at once."""

    def __init__(self, op: Op, tables: ImageTables) -> None:
        self.op, self.tables = op, tables
        self.entries = entries(op, tables)
        self.rounding = table(op, tables.rounding, "rounding")
        self.values: list[Value] = []
        self.packed: list[Value] = []

    def code_hyper(self, hyper: Value, quality: Value) -> Value:
        """Note the hyper-latents' symbols int32; returns them as the decoder will see them."""
        op = self.op
        rows = prior.index_rows(op, self.tables, quality, hyper)
        coded = op.Greater(rows, 0)
        bounded = op.Clip(op.Mul(hyper, op.Cast(coded, to=INT32)), -SYMBOL_LIMIT, SYMBOL_LIMIT)
        self.note(bounded, rows, coded)
        return bounded  # type: ignore[no-any-return]

    def code(self, found: prior.Prediction, scaled: Value) -> tuple[Value, Value]:
        """Quantize one group of latents float32 [P, L] in sixteenths of a step, and note its symbols."""
        op = self.op
        own = op.Slice(scaled, [found.start], [found.start + found.channels], [1])
        offset = own if found.mean is None else op.Sub(own, op.Cast(found.mean, to=FLOAT))
        rounding = op.Reshape(op.GatherElements(self.rounding, flat(op, found.rows)), op.Shape(offset))
        magnitude = op.Floor(op.Add(op.Mul(op.Abs(offset), 1 / SIXTEENTHS), rounding))
        signed = op.Mul(op.Clip(magnitude, 0.0, float(SYMBOL_LIMIT)), op.Sign(offset))
        # The second clip catches what a cast makes of NaN, which differs between processors.
        bounded = op.Clip(op.Cast(signed, to=INT32), -SYMBOL_LIMIT, SYMBOL_LIMIT)
        coded = op.GreaterOrEqual(found.rows, self.tables.first_row)
        symbols = op.Mul(bounded, op.Cast(coded, to=INT32))
        self.note(symbols, found.rows, coded)
        scaled_up = op.Mul(symbols, SIXTEENTHS)
        return symbols, scaled_up if found.mean is None else op.Add(scaled_up, found.mean)

    def note(self, symbols: Value, rows: Value, coded: Value) -> None:
        """Keep the elements that are coded: values and table entries."""
        symbols.name = f"{SENT}{len(self.values)}"  # verification reads it off
        op, columns = self.op, self.tables.frequency.shape[1]
        together = op.Add(op.Mul(rows, ROW_WEIGHT), op.Add(symbols, ROW_WEIGHT // 2))
        kept = op.Compress(flat(op, together), flat(op, coded))
        row = op.Div(kept, ROW_WEIGHT)
        values = op.Sub(op.Sub(kept, op.Mul(row, ROW_WEIGHT)), ROW_WEIGHT // 2)
        place = op.Clip(op.Add(values, self.tables.zero_column + 1), 0, columns)
        self.values.append(values)
        self.packed.append(op.GatherElements(self.entries, op.Add(op.Mul(row, columns + 1), place)))

    def finish(self) -> tuple[Value, Value]:
        """(Lane states, escapes and words as bytes int64 [n], log2 of the lanes)."""
        op = self.op
        packed = op.Concat(*self.packed, axis=0)
        cost = op.ReduceSum(op.BitwiseAnd(op.Div(packed, 1 << 32), 0xFFFF), keepdims=0)
        cost.name = COST  # measurements read it off
        lanes_log2 = rans.lanes_log2(op, cost, op.Size(packed), BYTES_PER_LANE)
        lanes = op.Gather([1 << k for k in range(MAX_LANES_LOG2 + 1)], lanes_log2)
        # Each stage fills whole steps: the decoder knows a stage's table rows only when the one before is decoded.
        stages = [rans.grid(op, part, op.Size(part), lanes, filler=TOTAL) for part in self.packed]
        gridded = op.Concat(*stages, axis=0)
        frequency = op.BitwiseAnd(gridded, 0xFFFF)
        states, words = rans.encode(op, frequency, op.BitwiseAnd(op.Div(gridded, 1 << 16), 0xFFFF))
        escaped = op.Compress(op.Concat(*self.values, axis=0), op.GreaterOrEqual(packed, 1 << 48))
        listed = escapes.write(op, op.Cast(escaped, to=INT64))
        parts = [
            flat(op, little_endian(op, states, 4)),
            escapes.write(op, op.Shape(listed)),
            listed,
            flat(op, little_endian(op, words, 2)),
        ]
        return op.Concat(*parts, axis=0), lanes_log2
