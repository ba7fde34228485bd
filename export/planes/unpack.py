"""The integer piece of the decoder, of any `PlaneModel`: a packet to latents, plane by plane.

A graph cannot stop: whatever bytes arrive, all of it runs. So a packet that its header condemns goes on as one block,
and one that fails later goes on without symbols. The first thing that fails is the status, and stands: from there on
planes decode one element of the certain row, which leaves the lanes alone, and hold zeros. That a packet is sound is
known only at the end, so size is 0 and there are no symbols unless the status is OK; and the latents are cut to one
block, so that nothing larger is made of what is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from latentwire.export.graph import (
    BOOL,
    INT32,
    INT64,
    UINT8,
    Op,
    Value,
    build_unpack_piece,
    count,
    escapes,
    flat,
    integer,
    rans,
    vector,
    wire,
)
from latentwire.export.planes.book import ESCAPE, lookup
from latentwire.export.planes.identity import cost_of
from latentwire.export.planes.pack import SYMBOL_LIMIT, blocks
from latentwire.export.planes.protocol import Known, Plane, PlaneModel
from latentwire.runtime.wire import MAX_STEPS, Limits, Status


def build_unpack(model: PlaneModel, codec_id: bytes, limits: Limits) -> onnx.ModelProto:
    """Packet uint8 [n] -> latents float32 [1, L, h, w], quality uint8 [1], size int64 [3], symbols, status int64 [].

    Symbols are int32 [n], of all planes one after the other, each row by row. Where status is not 0, size is 0 and
    there are no symbols; latents are of one block then, and not to be used.
    """
    cost = cost_of(model)

    def trace(op: Op, packet: Value) -> Sequence[Value]:
        def positions(size: Value) -> Value:
            return op.Mul(*blocks(op, model.block, size))  # type: ignore[no-any-return]

        parsed = wire.read_packet(op, codec_id, limits, cost, positions, packet)
        refused = op.Cast(op.Greater(parsed.status, 0), to=INT64)
        size = op.Max(parsed.size, refused)  # a refused packet is worked through as one pixel without symbols
        known = Known(parsed.quality, blocks(op, model.block, size), model.block)
        reader = Reader(op, model, parsed)
        for at, plane in enumerate(model.planes):
            found = model.predict(op, at, known)
            known.predictions.append(found)
            known.symbols.append(reader.take(plane, found.rows))
        status = reader.verdict()
        good = op.Cast(op.Equal(status, int(Status.OK)), to=INT64)
        restored = model.restore(op, known)
        kept = op.Max(op.Mul(good, 1 << 31), model.block // min(plane.stride for plane in model.planes))
        latents = op.Slice(restored, [0, 0], op.Concat(kept, kept, axis=0), [1, 2])
        everything = op.Concat(*[flat(op, symbols) for symbols in known.symbols], axis=0)
        return [
            op.Transpose(latents, perm=integer.CHANNELS_FIRST),
            op.Cast(op.Unsqueeze(parsed.quality, [0]), to=UINT8),
            op.Mul(size, good),
            op.Slice(everything, [0], op.Mul(op.Shape(everything), good)),
            op.Squeeze(status, [0]),
        ]

    latents: list[int | str] = [1, model.latents, "latent_height", "latent_width"]
    return build_unpack_piece(trace, latents, 3, {"symbols": ["symbols"]}, gives_quality=True)


class Reader:
    """Decodes one plane after the other; a plane that is refused, and all after it, hold zeros."""

    def __init__(self, op: Op, model: PlaneModel, parsed: wire.Parsed) -> None:
        self.op, self.parsed = op, parsed
        self.pages = lookup(op, model.book)
        self.states = parsed.states
        self.escaped, complete = self.read_escapes(parsed.body)
        self.status = op.Where(
            op.Greater(parsed.status, 0), parsed.status, op.Mul(op.Cast(op.Not(complete), to=INT64), int(Status.BODY))
        )
        self.position = rans.FINE.constants(op, [0])
        self.steps = vector(op, [0])
        self.escapes_used = op.Constant(value_ints=[0])

    def read_escapes(self, body: Value) -> tuple[Value, Value]:
        """(Escaped values int32 [m >= 1], whether all is there, bool [1]); finds the words too."""
        op = self.op
        length, width, plausible = escapes.first_number(op, body)
        fits = op.And(plausible, op.LessOrEqual(length, op.Sub(op.Shape(body), width)))
        begin = op.Add(width, op.Mul(length, op.Cast(fits, to=INT64)))
        listed = op.Slice(body, width, begin)
        ended = count(op, op.Less(listed, 128))
        values, exact = escapes.read(op, listed, ended)
        self.listed = op.Unsqueeze(ended, [0])
        words = op.Slice(body, begin, [1 << 31])
        self.words = op.Div(op.Shape(words), 2)
        padded = op.Slice(op.Pad(words, [0, 3], 0), [0], op.Add(op.Mul(self.words, 2), 2))
        low, high = (op.Slice(padded, [first], [1 << 31], [0], [2]) for first in (0, 1))
        self.stream = op.Add(low, op.Mul(high, 256))
        even = op.Equal(op.Mul(self.words, 2), op.Shape(words))
        # An escape of a forged packet may be anything.
        bounded = op.Cast(op.Clip(values, -SYMBOL_LIMIT, SYMBOL_LIMIT), to=INT32)
        return bounded, op.And(op.And(fits, even), op.Unsqueeze(exact, [0]))

    def take(self, plane: Plane, rows: Value) -> Value:
        """Symbols int32 [1, h, w, C] of a plane with rows int32 of that shape."""
        op = self.op
        coded = op.Cast(rows, to=BOOL)
        where = flat(op, rows)
        if not plane.always:
            where = op.GatherElements(where, flat(op, op.NonZero(flat(op, coded))))
        values = self.values(where)
        present = op.Cast(op.And(coded, op.Equal(self.status, 0)), to=INT32)
        order = op.Clip(op.Sub(op.CumSum(flat(op, present), 0), 1), 0, 1 << 30)
        last = op.Cast(op.Sub(op.Shape(values), 1), to=INT32)
        grid = op.Reshape(op.GatherElements(values, op.Min(order, last)), op.Shape(present))
        return op.Mul(grid, present)  # type: ignore[no-any-return]

    def values(self, rows: Value) -> Value:
        """Symbols int32 [max(n, 1)] of elements with rows int32 [n], escapes in their places.

        Where nothing may or need be decoded, one element of the certain row is: it leaves the lanes alone.
        """
        op = self.op
        self.steps = op.Add(self.steps, rans.steps_for(op, op.Size(rows), self.parsed.lanes))
        refused = op.And(op.Greater(self.steps, MAX_STEPS), op.Equal(self.status, 0))
        self.status = op.Max(self.status, op.Mul(op.Cast(refused, to=INT64), int(Status.LIMIT)))
        todo = op.Mul(op.Shape(rows), op.Cast(op.Equal(self.status, 0), to=INT64))
        chosen = op.Cast(op.Slice(rows, [0], todo), to=INT64)
        grid = rans.grid(op, chosen, op.Squeeze(todo, [0]), self.parsed.lanes, filler=0)
        decoded, self.states, self.position = rans.decode(
            op, rans.FINE, self.pages, grid, self.states, self.stream, self.position
        )
        found = op.Slice(decoded, [0], op.Max(todo, 1))
        escaped = op.Equal(found, ESCAPE)
        order, number = escapes.numbered(op, escaped)
        listed = op.Add(op.Cast(order, to=INT64), self.escapes_used)
        self.escapes_used = op.Add(op.Cast(number, to=INT64), self.escapes_used)
        last = op.Sub(op.Shape(self.escaped), 1)
        return op.Where(escaped, op.GatherElements(self.escaped, op.Min(listed, last)), found)  # type: ignore[no-any-return]

    def verdict(self) -> Value:
        """The packet's status, int64 [1], once all planes are decoded."""
        op = self.op
        unsettled = op.Greater(op.ReduceMax(op.Abs(op.Sub(self.states, rans.FINE.low)), [0]), 0)
        all_escapes = op.Equal(self.escapes_used, self.listed)
        unused = op.Or(op.Not(op.Equal(self.position, self.words)), op.Not(all_escapes))
        final = wire.first_failure(op, [(unsettled, Status.LANES), (unused, Status.BODY)])
        return op.Where(op.Greater(self.status, 0), self.status, final)  # type: ignore[no-any-return]
