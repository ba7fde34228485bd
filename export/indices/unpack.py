"""The integer piece of the decoder: a packet to indices, stage by stage.

A graph cannot stop: whatever bytes arrive, all of it runs. A packet that its header condemns goes on without items; one
that fails later hands none out. Every index that comes out is one of its codebook, whatever the packet says: columns
stand for codewords, and groups of rare ones have no members but codewords.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from latentwire.export.graph import (
    FLOAT,
    INT32,
    INT64,
    TOTAL,
    WORD,
    Op,
    Value,
    build_unpack_piece,
    flat,
    number,
    rans,
    table,
    vector,
    wire,
)
from latentwire.export.indices.layout import Indexed
from latentwire.export.indices.model import Model
from latentwire.export.indices.tables import IndexTables, Whole
from latentwire.runtime.wire import ITEMS_LOW, MAX_STEPS, Status, cost_of_indices, least_units

ABSENT = -1
"""Index of a plane that is not sent."""


def build_unpack(layout: Indexed, tables: IndexTables, codec_id: bytes) -> onnx.ModelProto:
    """Packet uint8 [n] -> indices float32 [N, R, P...], size int64 [1], symbols int32 [N, R, P...], status int64 [].

    Indices of planes that are not sent are -1. Where status is not 0 there are none (N = 0).
    """
    cost = cost_of_indices(*claims(tables))

    def trace(op: Op, packet: Value) -> Sequence[Value]:
        parsed = wire.read_packet(op, codec_id, layout.limits, cost, lambda size: size, packet)
        model = Model(op, tables, parsed.quality)
        reader = Reader(op, model, parsed)
        chosen = reader.indices()
        status = reader.verdict()
        kept = op.Mul(parsed.size, op.Cast(op.Equal(status, int(Status.OK)), to=INT64))
        indices = op.Slice(in_place(op, model, chosen), [0], kept)
        shaped = op.Reshape(indices, op.Concat(kept, vector(op, layout.shape), axis=0), allowzero=1)
        return [op.Cast(shaped, to=FLOAT), kept, op.Cast(shaped, to=INT32), op.Squeeze(status, [0])]

    return build_unpack_piece(trace, layout.latent_shape, 1, {"symbols": list(layout.latent_shape)})


def in_place(op: Op, model: Model, indices: Value) -> Value:
    """Indices int64 [N, T] by place of indices [N, T] in coding order, `ABSENT` where a plane is not sent."""
    placed = op.Gather(indices, table(op, np.argsort(model.tables.order), "back"), axis=1)
    return op.Where(model.are_sent(), placed, ABSENT)  # type: ignore[no-any-return]


def claims(tables: IndexTables) -> tuple[Whole, Whole]:
    """What an item takes at each quality, int64 [256] each: groups that are coded, and the least bits in 1/256.

    A site's least bits are those of the likeliest group in any row that it may have.
    """
    units = least_units(tables.frequency, ITEMS_LOW)
    sites, bits = np.zeros((2, tables.planes + 1), np.int64)
    for stage in tables.stages:
        rows = tables.rows[stage.base[:, None] + np.arange(stage.contexts)]
        planes = 1 + stage.places // tables.positions
        np.add.at(sites, planes, 1)
        np.add.at(bits, planes, units[rows].min(1))
    return np.cumsum(sites)[tables.quality_planes], np.cumsum(bits)[tables.quality_planes]


def common_of(tables: IndexTables) -> Whole:
    """Codeword of each slot, int64 [R * S]; -1 for those that are rare."""
    found = tables.wide("common")
    found[:, -1] = -1
    return found.reshape(-1)


class Reader:
    """Decodes one stage after the other, and keeps what one leaves to the next."""

    def __init__(self, op: Op, model: Model, parsed: wire.Parsed) -> None:
        self.op, self.model, self.tables, self.parsed = op, model, model.tables, parsed
        body = parsed.body
        pairs = op.Reshape(op.Slice(op.Pad(body, [0, 3], 0), [0], even(op, body)), [-1, 2])
        self.stream = op.ReduceSum(op.Mul(pairs, [1, 256]), [1], keepdims=0)
        self.slots = lookup(op, self.tables)
        self.states, self.status = parsed.states, parsed.status
        self.position, self.steps = vector(op, [0]), vector(op, [0])

    def take(self, rows: Value) -> Value:
        """Columns int64 [n] of elements with table rows int64 [n]; without any, one of row 0 is decoded and dropped."""
        op, todo = self.op, self.op.Size(rows)
        grid = rans.grid(op, rows, todo, self.parsed.lanes, filler=0)
        self.steps = op.Add(self.steps, op.Shape(grid, end=1))
        columns, self.states, self.position = rans.decode(
            op, rans.WIDE, self.slots, grid, self.states, self.stream, self.position
        )
        return op.Slice(columns, [0], op.Unsqueeze(todo, [0]))  # type: ignore[no-any-return]

    def take_some(self, rows: Value) -> tuple[Value, Value]:
        """(Columns, rows) of elements that no header tells the number of: none if they would take too many steps."""
        op = self.op
        steps = op.Add(self.steps, rans.steps_for(op, op.Size(rows), self.parsed.lanes))
        excessive = op.And(op.Greater(steps, MAX_STEPS), op.Equal(self.status, 0))
        self.status = op.Add(self.status, op.Mul(op.Cast(excessive, to=INT64), int(Status.LIMIT)))
        todo = op.Mul(op.Shape(rows), op.Cast(op.Equal(self.status, 0), to=INT64))
        kept = op.Slice(rows, [0], todo)
        return self.take(kept), kept

    def indices(self) -> Value:
        """Int64 [N, T] of all sites in coding order; anything where a site is not sent."""
        op, tables = self.op, self.tables
        stages = self.stages()
        slots = op.Concat(*[flat(op, part) for part in stages], axis=0)
        common = op.Gather(table(op, common_of(tables), "common"), slots)
        rare = op.Less(common, 0)
        found = op.Concat(self.rare(op.Compress(slots, rare)), vector(op, [0]), axis=0)
        order = op.CumSum(op.Cast(rare, to=INT64), 0, exclusive=1)
        last = op.Sub(op.Shape(found), 1)
        values = op.Where(rare, op.Gather(found, op.Min(order, last)), common)
        parts, begin = [], vector(op, [0])
        for stage, slots in enumerate(stages):
            end = op.Add(begin, op.Unsqueeze(op.Size(slots), [0]))
            own = op.Reshape(op.Slice(values, begin, end), op.Shape(slots), allowzero=1)
            parts.append(self.model.widened(own, stage))
            begin = end
        return op.Concat(*parts, axis=1)  # type: ignore[no-any-return]

    def stages(self) -> list[Value]:
        """Of each stage the slots int64 [N, n] of its sites that are sent."""
        op, model = self.op, self.model
        seen, found = model.nothing_seen(self.parsed.size), []
        for stage in range(len(self.tables.stages)):
            rows = model.rows(stage, seen)
            columns = op.Reshape(self.take(flat(op, rows)), op.Shape(rows), allowzero=1)
            found.append(op.Add(columns, model.slot_begins(stage)))
            seen = op.Concat(seen, self.model.widened(found[-1], stage), axis=1)
        return found

    def rare(self, slots: Value) -> Value:
        """Codewords int64 [n] of rare indices, whose slots say of which plane they are; none of a refused packet."""
        op, tables = self.op, self.tables
        planes = np.repeat(np.arange(tables.planes), tables.columns)
        rows = op.Add(op.Gather(table(op, planes, "slot_planes"), slots), 1)
        columns, rows = self.take_some(rows)
        groups = op.Add(op.Mul(op.Sub(rows, 1), tables.columns), columns)
        begins = tables.wide("first") + tables.codebook_begins[:, None]
        place = op.Gather(table(op, begins.reshape(-1), "first_members"), groups)
        if tables.longest:
            place = op.Add(place, self.members(op.Gather(table(op, tables.wide("bits").reshape(-1), "bits"), groups)))
        return op.Gather(table(op, tables.joined("codewords"), "codewords"), place)  # type: ignore[no-any-return]

    def members(self, bits: Value) -> Value:
        """Which member of its group each is, int64 [n], of so many bits; 0 of groups of one."""
        op = self.op
        several = op.Greater(bits, 0)
        found, _ = self.take_some(op.Add(op.Compress(bits, several), len(self.tables.frequency) - 1))
        found = op.Concat(found, vector(op, [0]), axis=0)
        order = op.CumSum(op.Cast(several, to=INT64), 0, exclusive=1)
        own = op.Gather(found, op.Min(order, op.Sub(op.Shape(found), 1)))
        return op.Mul(own, op.Cast(several, to=INT64))  # type: ignore[no-any-return]

    def verdict(self) -> Value:
        """The packet's status, int64 [1], once all is decoded."""
        op = self.op
        unsettled = op.Greater(op.ReduceMax(op.Abs(op.Sub(self.states, rans.WIDE.low)), [0]), 0)
        inexact = op.Not(op.Equal(op.Mul(self.position, 2), op.Shape(self.parsed.body)))
        final = wire.first_failure(op, [(unsettled, Status.LANES), (inexact, Status.BODY)])
        return op.Where(op.Greater(self.status, 0), self.status, final)  # type: ignore[no-any-return]


def lookup(op: Op, tables: IndexTables) -> rans.Slots:
    """The table's rows, and behind them one for members of 1, 2, ... bits each, all alike. Folded when loaded."""
    frequency = op.Cast(table(op, tables.frequency, "frequency"), to=INT64)
    coded = rans.slot_table(op, rans.WIDE, frequency, *tables.frequency.shape)
    if not tables.longest:
        return coded
    each = op.Unsqueeze(vector(op, [TOTAL >> bits for bits in range(1, tables.longest + 1)]), [1])
    slot = op.Range(number(op, 0), number(op, TOTAL), number(op, 1))
    entries = op.Add(op.Mul(op.Mod(slot, each), WORD), each)
    parts = ((coded.entries, entries), (coded.columns, op.Div(slot, each)))
    return rans.Slots(*(op.Concat(first, flat(op, second), axis=0) for first, second in parts))


def even(op: Op, body: Value) -> Value:
    """The length of ``body`` rounded up to whole words, at least one, int64 [1]; three zeros behind it make room."""
    return op.Add(op.Mul(op.Div(op.Shape(body), 2), 2), 2)  # type: ignore[no-any-return]
