"""The integer piece of the encoder, of any `PlaneModel`: latents to a packet.

Planes are quantized and noted in order, each by what a decoder will know then; rANS codes the last symbol first, so
that nothing is coded before the end. The body of a packet is

    states      4 bytes a lane
    length      of the escape list, as its first number
    escapes     of all planes, in order
    words       16 bits each

What is sent, where it belongs and what it costs have names in the graph; see `graph.tap`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from latentwire.export.graph import (
    BOOL,
    COST_UNITS,
    INT32,
    INT64,
    Op,
    Value,
    build_pack_piece,
    escapes,
    flat,
    integer,
    little_endian,
    number,
    rans,
    tap,
    vector,
    wire,
)
from latentwire.export.planes.book import TOTAL, Finder, Found, split
from latentwire.export.planes.protocol import Known, Plane, PlaneModel

SYMBOL_LIMIT = (1 << 23) - 1
"""Symbols are clipped to this magnitude, up to which float32 is exact."""
BYTES_PER_LANE = 450
"""What each lane but the first must have to code: their overhead stays below 0.7 %, on average 0.5 %."""


def folded_channels(model: PlaneModel) -> int:
    """Channels of all planes' latents at the coarsest of their strides."""
    coarsest = max(plane.stride for plane in model.planes)
    return sum(plane.channels * (coarsest // plane.stride) ** 2 for plane in model.planes)


def build_pack(model: PlaneModel, codec_id: bytes) -> onnx.ModelProto:
    """Latents float32 [1, L, h, w], quality uint8 [], size int64 [3] -> packet uint8 [n].

    Latents are those of all planes, in order, each folded (`folded`) to the coarsest stride.
    """

    def trace(op: Op, latent: Value, quality: Value, size: Value) -> Sequence[Value]:
        level = op.Cast(quality, to=INT64)
        known = Known(level, blocks(op, model.block, size), model.block)
        writer = Writer(op, model)
        for at, part in enumerate(unfolded(op, model, latent)):
            found = model.predict(op, at, known)
            known.predictions.append(found)
            symbols = whole(op, model.quantize(op, at, part, found, known))
            known.symbols.append(writer.note(model.planes[at], symbols, found.rows))
        body, lanes_log2 = writer.finish()
        return [wire.write_packet(op, codec_id, 3, level, size, lanes_log2, body)]

    return build_pack_piece(trace, [1, folded_channels(model), "latent_height", "latent_width"], 3)


def blocks(op: Op, block: int, size: Value) -> tuple[Value, Value]:
    """How many blocks a picture of ``size`` int64 [3] has, down and across, int64 [1] each."""
    counts = op.Div(op.Add(op.Slice(size, [0], [2]), block - 1), block)
    return op.Slice(counts, [0], [1]), op.Slice(counts, [1], [2])


def unfolded(op: Op, model: PlaneModel, latent: Value) -> list[Value]:
    """Each plane's latents float32 [1, h, w, C], of all of them folded."""
    coarsest = max(plane.stride for plane in model.planes)
    parts, start = [], 0
    for plane in model.planes:
        factor = coarsest // plane.stride
        deep = plane.channels * factor**2
        part = op.Slice(latent, [start], [start + deep], [1])
        wide = op.DepthToSpace(part, blocksize=factor) if factor > 1 else part
        parts.append(op.Transpose(wide, perm=integer.CHANNELS_LAST))
        start += deep
    return parts


def whole(op: Op, numbers: Value) -> Value:
    """Whole float32 as int32 within `SYMBOL_LIMIT`."""
    bounded = op.Cast(op.Clip(numbers, float(-SYMBOL_LIMIT), float(SYMBOL_LIMIT)), to=INT32)
    # The second clip catches what a cast makes of NaN, which differs between processors.
    return op.Clip(bounded, -SYMBOL_LIMIT, SYMBOL_LIMIT)  # type: ignore[no-any-return]


class Writer:
    """Collects the symbols of planes; `finish` entropy-codes them all at once."""

    def __init__(self, op: Op, model: PlaneModel) -> None:
        self.op, self.finder = op, Finder(op, model.book)
        self.planes: list[Found] = []
        self.coded: list[Value] = []

    def note(self, plane: Plane, symbols: Value, rows: Value) -> Value:
        """Note those symbols int32 [1, h, w, C] whose row is not the certain one; returns all, the others as 0."""
        op = self.op
        coded = op.Cast(rows, to=BOOL)
        self.coded.append(flat(op, coded))
        values, where = flat(op, symbols), flat(op, rows)
        if not plane.always:
            places = flat(op, op.NonZero(self.coded[-1]))
            values, where = op.GatherElements(values, places), op.GatherElements(where, places)
            symbols = op.Mul(symbols, op.Cast(coded, to=INT32))
        self.planes.append(self.finder.find(values, where))
        return symbols

    def finish(self) -> tuple[Value, Value]:
        """(Lane states, escapes and words as bytes int64 [n], log2 of the lanes)."""
        op, planes = self.op, self.planes
        # Named for all planes at once: they may be of any sizes.
        values = op.Concat(*[plane.values for plane in planes], axis=0)
        everywhere = op.Concat(*self.coded, axis=0)
        values.name, everywhere.name = f"{tap.SENT}0", f"{tap.CODED}0"
        escaped = op.Compress(values, op.Concat(*[plane.escaped for plane in planes], axis=0))
        listed = escapes.write(op, op.Cast(escaped, to=INT64))
        cost = self.ideal_cost(listed)
        cost.name = tap.COST
        worthwhile = vector(op, [BYTES_PER_LANE * (lanes - 1) for lanes in rans.DOUBLINGS])
        lanes_log2 = rans.lanes_log2(op, cost, op.Size(values), worthwhile)
        lanes = op.Gather(vector(op, [1, *rans.DOUBLINGS]), lanes_log2)
        # Each plane fills whole steps: the decoder knows a plane's rows only when those before it are decoded.
        grids = [rans.grid(op, plane.entries, op.Size(plane.entries), lanes, filler=TOTAL) for plane in planes]
        states, words = rans.encode(op, rans.FINE, *split(op, op.Concat(*grids, axis=0)))
        parts = [
            flat(op, little_endian(op, states, 4)),
            escapes.write(op, op.Shape(listed)),
            listed,
            flat(op, little_endian(op, words, 2)),
        ]
        return op.Concat(*parts, axis=0), lanes_log2

    def ideal_cost(self, listed: Value) -> Value:
        """Code length of everything in 1/256 bit, int64 scalar."""
        op = self.op
        costs = op.Concat(*[plane.cost for plane in self.planes], axis=0)
        # Sums of 64 are whole numbers below 2^24: exact in float32, which is summed much faster than integers.
        rows = op.ReduceSum(rans.grid(op, costs, op.Size(costs), number(op, 64), filler=0), [1])
        return op.Add(op.ReduceSum(op.Cast(rows, to=INT64), keepdims=0), op.Mul(op.Size(listed), 8 * COST_UNITS))  # type: ignore[no-any-return]
