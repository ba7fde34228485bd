"""The two integer pieces: ``pack`` (latents -> packet) and ``unpack`` (packet -> latents)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from latentwire.export.factorized import latents
from latentwire.export.factorized.layout import Family
from latentwire.export.factorized.tables import CodecTables
from latentwire.export.graph import (
    INT32,
    INT64,
    Op,
    Value,
    build_pack_piece,
    build_unpack_piece,
    count,
    escapes,
    flat,
    little_endian,
    rans,
    table,
    tap,
    vector,
    wire,
)
from latentwire.runtime.wire import MAX_LANES_LOG2, Status, cost_of_items

BYTES_PER_LANE = 400
"""What each lane but the first must have to code: the lanes' overhead stays within 4 bytes + 1 %, on average 0.75 %."""


def build_pack(family: Family, tables: CodecTables, codec_id: bytes) -> onnx.ModelProto:
    """Latents float32 (the family's layout), quality uint8 [], size int64 [d] -> packet uint8 [n]."""

    def trace(op: Op, latent: Value, quality: Value, size: Value) -> Sequence[Value]:
        level = op.Cast(quality, to=INT64)
        rows = family.to_rows(op, latent)
        symbols = latents.quantize(op, tables, rows, level)
        elements = latents.static_elements(op, tables, level, op.Shape(symbols))
        values = op.Compress(flat(op, symbols), elements.coded)
        values.name, elements.coded.name = f"{tap.SENT}0", f"{tap.CODED}0"
        return [write(op, elements, values, level, size)]

    def write(op: Op, elements: latents.Elements, values: Value, level: Value, size: Value) -> Value:
        columns = tables.frequency.shape[1]
        place = op.Clip(op.Add(values, tables.zero_column + 1), 0, columns)
        entries = flat(op, table(op, latents.encoder_entries(tables.frequency), "entries"))
        packed = op.Gather(entries, op.Add(op.Mul(elements.rows, columns + 1), place))
        cost = op.ReduceSum(op.BitwiseAnd(op.Div(packed, 1 << 32), 0xFFFF), keepdims=0)
        worthwhile = vector(op, [BYTES_PER_LANE * (lanes - 1) for lanes in rans.DOUBLINGS])
        lanes_log2 = rans.lanes_log2(op, cost, elements.number, worthwhile)
        lanes = op.Gather([1 << k for k in range(MAX_LANES_LOG2 + 1)], lanes_log2)
        gridded = rans.grid(op, packed, elements.number, lanes, filler=rans.NOTHING)
        frequency = op.BitwiseAnd(gridded, 0xFFFF)
        states, words = rans.encode(op, rans.WIDE, frequency, op.BitwiseAnd(op.Div(gridded, 1 << 16), 0xFFFF))
        escaped = op.Compress(values, op.GreaterOrEqual(packed, 1 << 48))
        parts = [
            flat(op, little_endian(op, states, 4)),
            flat(op, little_endian(op, words, 2)),
            escapes.write(op, escaped),
        ]
        body = op.Concat(*parts, axis=0)
        return wire.write_packet(op, codec_id, len(family.size_axes), level, size, lanes_log2, body)

    return build_pack_piece(trace, family.latent_shape, len(family.size_axes))


def build_unpack(family: Family, tables: CodecTables, codec_id: bytes) -> onnx.ModelProto:
    """Packet uint8 [n] -> latents float32, size int64 [d], symbols int32 [P, C], status int64 [].

    Where status is not 0 there are no latents and no symbols (P = 0).
    """
    rows, columns = tables.frequency.shape
    cost = cost_of_items(tables.index, tables.frequency)

    def trace(op: Op, packet: Value) -> Sequence[Value]:
        parsed = wire.read_packet(op, codec_id, family.limits, cost, positions(op), packet)
        shape = op.Concat(positions(op)(parsed.size), [tables.channels], axis=0)
        return finish(op, parsed, shape, latents.static_elements(op, tables, parsed.quality, shape))

    def positions(op: Op) -> Callable[[Value], Value]:
        return lambda size: op.Unsqueeze(family.positions(op, size), [0])

    def finish(op: Op, parsed: wire.Parsed, shape: Value, elements: latents.Elements) -> Sequence[Value]:
        # A packet that is refused by its header has no positions: the Scan gets one step of padding.
        todo = elements.number
        frequency = op.Cast(table(op, tables.frequency, "frequency"), to=INT64)
        slots = rans.slot_table(op, rans.WIDE, frequency, rows, columns)
        pairs = op.Reshape(op.Slice(op.Pad(parsed.body, [0, 3], 0), [0], even(op, parsed.body)), [-1, 2])
        stream = op.ReduceSum(op.Mul(pairs, [1, 256]), [1], keepdims=0)
        decoded, ends, used = rans.decode(
            op, rans.WIDE, slots, rans.grid(op, elements.rows, todo, parsed.lanes, filler=0), parsed.states, stream
        )
        found = op.Slice(decoded, [0], op.Max(op.Unsqueeze(todo, [0]), 1))
        escaped = op.And(op.Equal(found, columns - 1), op.Greater(todo, 0))
        listed, exact = escapes.read(op, op.Slice(parsed.body, op.Mul(used, 2), [1 << 31]), count(op, escaped))
        order = op.CumSum(op.Cast(escaped, to=INT64), 0, exclusive=1)
        chosen = op.Gather(listed, op.Min(order, op.Sub(op.Shape(listed), 1)))
        values = op.Where(escaped, chosen, op.Sub(found, tables.zero_column))
        overrun = op.Greater(op.Mul(used, 2), op.Shape(parsed.body))
        unsettled = op.Greater(op.ReduceMax(op.Abs(op.Sub(ends, rans.WIDE.low)), [0]), 0)
        inexact = op.Or(overrun, op.Unsqueeze(op.Not(exact), [0]))
        final = wire.first_failure(op, [(unsettled, Status.LANES), (inexact, Status.BODY)])
        verdict = op.Where(op.Greater(parsed.status, 0), parsed.status, final)
        good = op.Cast(op.Equal(verdict, int(Status.OK)), to=INT64)
        symbols = op.Reshape(latents.restore(op, elements, values), shape)
        kept = op.Slice(symbols, [0], op.Mul(op.Slice(shape, [0], [1]), good))
        size = op.Mul(parsed.size, good)
        restored = family.from_rows(op, latents.dequantize(op, tables, kept, parsed.quality), size)
        return [restored, size, op.Cast(kept, to=INT32), op.Squeeze(verdict, [0])]

    return build_unpack_piece(
        trace, family.latent_shape, len(family.size_axes), {"symbols": ["positions", tables.channels]}
    )


def even(op: Op, body: Value) -> Value:
    """The length of ``body`` rounded up to whole words, at least one, int64 [1]; three zeros behind it make room."""
    return op.Add(op.Mul(op.Div(op.Shape(body), 2), 2), 2)  # type: ignore[no-any-return]
