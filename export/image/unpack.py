"""The integer piece of the decoder: a packet to latents, stage by stage."""

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
    count,
    flat,
    table,
    value,
    vector,
)
from latentwire.export.image import prior
from latentwire.export.image.pack import SYMBOL_LIMIT
from latentwire.export.image.tables import SIXTEENTHS, ImageTables
from latentwire.runtime.packet import Limits, Status


def build_unpack(tables: ImageTables, codec_id: bytes, limits: Limits) -> onnx.ModelProto:
    """Packet uint8 [n] -> latents float32 [1, L, h, w], size int64 [3], symbols and status int64 [].

    Symbols are int32 [P, L], the hyper-latents' int32 [P / 16, Z]. Where status is not 0, size is 0, there are no
    symbols, and the latents are those of one empty block.
    """

    def trace(op: Op, packet: Value) -> Sequence[Value]:
        parsed = wire.read_packet(op, codec_id, limits, packet)
        refused = op.Cast(op.Greater(parsed.status, 0), to=INT64)
        size = op.Max(parsed.size, refused)  # a refused packet is worked through as one pixel without symbols
        cells = prior.grid(op, size)
        reader = Reader(op, tables, parsed)
        hyper = reader.decode_hyper(op.Concat(prior.count_positions(op, cells), vector(op, [tables.hyper]), axis=0))
        decoded = prior.run_stages(op, tables, hyper, parsed.quality, cells, reader.decode)
        status = reader.verdict()
        good = op.Cast(op.Equal(status, int(Status.OK)), to=INT64)
        gain = prior.gain_at(op, tables, parsed.quality)
        restored = op.Div(
            op.Add(
                op.Concat(*[op.Cast(part, to=FLOAT) for part in decoded], axis=1), op.Concat(*reader.shifts, axis=1)
            ),
            gain,
        )
        shape = op.Concat(vector(op, [1]), cells.height, cells.width, vector(op, [tables.latents]), axis=0)
        latents = op.Transpose(op.Reshape(restored, shape), perm=[0, 3, 1, 2])
        symbols = [op.Slice(part, [0], op.Mul(good, 1 << 31)) for part in (op.Concat(*reader.symbols, axis=1), hyper)]
        return [latents, op.Mul(size, good), *symbols, op.Squeeze(status, [0])]

    outputs = [
        value("latents", FLOAT, [1, tables.latents, "latent_height", "latent_width"]),
        value("size", INT64, [3]),
        value("symbols", INT32, ["positions", tables.latents]),
        value("hyper_symbols", INT32, ["hyper_positions", tables.hyper]),
        value("status", INT64, []),
    ]
    return build_model(trace, [value("packet", UINT8, ["packet_bytes"])], outputs, "unpack")


class Reader:
    """Decodes one stage after the other; a stage that is refused, and all after it, hold zeros."""

    def __init__(self, op: Op, tables: ImageTables, parsed: wire.Parsed) -> None:
        self.op, self.tables, self.parsed = op, tables, parsed
        rows, columns = tables.frequency.shape
        self.slots = rans.slot_table(op, table(op, tables.frequency.astype("int64"), "frequency"), rows, columns)
        self.beyond = table(op, tables.shift.astype(np.float32), "shift")
        self.escaped, complete, words = self.read_escapes(parsed.body)
        self.stream, self.words = words
        self.status = op.Where(
            op.Greater(parsed.status, 0), parsed.status, op.Mul(op.Cast(op.Not(complete), to=INT64), int(Status.BODY))
        )
        self.states, self.position = parsed.states, vector(op, [0])
        self.escapes_used = vector(op, [0])
        self.symbols: list[Value] = []
        self.shifts: list[Value] = []

    def read_escapes(self, body: Value) -> tuple[Value, Value, tuple[Value, Value]]:
        """(Escaped values int64 [m >= 1], whether all is there, (words int64 [k >= 1], their number)); [1] each."""
        op = self.op
        length, width, plausible = first_number(op, body)
        remaining = op.Sub(op.Shape(body), width)
        fits = op.And(plausible, op.LessOrEqual(length, remaining))
        used = op.Mul(length, op.Cast(fits, to=INT64))
        begin = op.Add(width, used)
        listed = op.Slice(body, width, begin)
        ended = count(op, op.Less(listed, 128))
        values, exact = escapes.read(op, listed, ended)
        self.listed = op.Unsqueeze(ended, [0])
        words = op.Slice(body, begin, [1 << 31])
        whole = op.Div(op.Shape(words), 2)
        padded = op.Slice(op.Pad(words, [0, 3], 0), [0], op.Add(op.Mul(whole, 2), 2))
        stream = op.ReduceSum(op.Mul(op.Reshape(padded, [-1, 2]), [1, 256]), [1], keepdims=0)
        even = op.Equal(op.Mul(whole, 2), op.Shape(words))
        return values, op.And(op.And(fits, even), op.Unsqueeze(exact, [0])), (stream, whole)

    def decode_hyper(self, shape: Value) -> Value:
        """Hyper-latents' symbols int32 of ``shape`` int64 [2]."""
        op = self.op
        zeros = op.Expand(op.Cast(vector(op, [0]), to=INT32), shape)
        rows = prior.index_rows(op, self.tables, self.parsed.quality, zeros)
        return op.Reshape(self.take(flat(op, rows), op.Greater(flat(op, rows), 0)), shape)  # type: ignore[no-any-return]

    def decode(self, found: prior.Prediction) -> tuple[Value, Value]:
        """Symbols and decoded latents of one group."""
        op, shape = self.op, self.op.Shape(found.rows)
        rows = flat(op, found.rows)
        symbols = self.take(rows, op.GreaterOrEqual(rows, self.tables.first_row))
        shifts = op.Mul(op.GatherElements(self.beyond, rows), op.Cast(op.Sign(symbols), to=FLOAT))
        grid = op.Reshape(symbols, shape)
        self.symbols.append(grid)
        self.shifts.append(op.Reshape(shifts, shape))
        scaled_up = op.Mul(grid, SIXTEENTHS)
        return grid, scaled_up if found.mean is None else op.Add(scaled_up, found.mean)

    def take(self, rows: Value, coded: Value) -> Value:
        """Symbols int32 [n] of elements with table rows int32 [n], where ``coded``; 0 elsewhere."""
        op, columns = self.op, self.tables.frequency.shape[1]
        kept = op.Cast(op.Compress(rows, coded), to=INT64)
        slow = wire.too_many_steps(op, op.Size(kept), self.parsed.lanes)
        self.status = op.Max(
            self.status,
            op.Mul(op.Cast(op.And(slow, op.Equal(self.status, 0)), to=INT64), int(Status.LIMIT)),
        )
        allowed = op.Equal(self.status, 0)
        todo = op.Mul(op.Shape(kept), op.Cast(allowed, to=INT64))
        grid = rans.grid(op, op.Slice(kept, [0], todo), op.Squeeze(todo, [0]), self.parsed.lanes, filler=0)
        decoded, self.states, self.position = rans.decode(op, self.slots, grid, self.states, self.stream, self.position)
        found = op.Slice(flat(op, decoded), [0], op.Max(todo, 1))
        escaped = op.And(op.Equal(found, columns - 1), op.Greater(todo, 0))
        values = op.Where(escaped, self.next_escapes(escaped), op.Sub(found, self.tables.zero_column))
        bounded = op.Cast(op.Clip(values, -SYMBOL_LIMIT, SYMBOL_LIMIT), to=INT32)
        present = op.Cast(op.And(coded, allowed), to=INT32)
        order = op.Clip(op.Sub(op.CumSum(present, 0), 1), 0, 1 << 30)
        return op.Mul(op.GatherElements(bounded, order), present)  # type: ignore[no-any-return]

    def next_escapes(self, escaped: Value) -> Value:
        """The listed values in the places of ``escaped`` bool [n]; anything elsewhere."""
        op = self.op
        flags = op.Cast(escaped, to=INT64)
        places = op.Add(op.CumSum(flags, 0, exclusive=1), self.escapes_used)
        self.escapes_used = op.Add(self.escapes_used, op.ReduceSum(flags, [0]))
        return op.GatherElements(self.escaped, op.Min(places, op.Sub(op.Shape(self.escaped), 1)))  # type: ignore[no-any-return]

    def verdict(self) -> Value:
        """The packet's status, int64 [1], once all stages are decoded."""
        op = self.op
        unsettled = op.Greater(op.ReduceMax(op.Abs(op.Sub(self.states, rans.START)), [0]), 0)
        inexact = op.Or(op.Not(op.Equal(self.position, self.words)), op.Not(op.Equal(self.escapes_used, self.listed)))
        final = wire.first_failure(op, [(unsettled, Status.LANES), (inexact, Status.BODY)])
        return op.Where(op.Greater(self.status, 0), self.status, final)  # type: ignore[no-any-return]


def first_number(op: Op, data: Value) -> tuple[Value, Value, Value]:
    """The LEB128 zigzag number that bytes int64 [n] start with: (number, its bytes, whether it is one), [1] each."""
    head = op.Slice(op.Pad(data, [0, escapes.MAX_BYTES], 128), [0], [escapes.MAX_BYTES])
    ends = op.Cast(op.Less(head, 128), to=INT64)
    last = op.ArgMax(ends, axis=0, keepdims=1)
    used = op.Cast(op.LessOrEqual(vector(op, list(range(escapes.MAX_BYTES))), last), to=INT64)
    zigzag = op.ReduceSum(op.Mul(op.Mul(op.BitwiseAnd(head, 127), vector(op, escapes.GROUPS)), used), [0])
    plausible = op.And(op.Greater(op.ReduceMax(ends, [0]), 0), op.Equal(op.BitwiseAnd(zigzag, 1), 0))
    return op.Div(zigzag, 2), op.Min(op.Add(last, 1), op.Shape(data)), plausible
