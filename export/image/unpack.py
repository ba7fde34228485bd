"""The integer piece of the decoder: a packet to latents, stage by stage.

A graph cannot stop: whatever bytes arrive, all of it runs. So a packet that its header condemns goes on as one pixel,
and one that fails later goes on without symbols. In this order:

    header          `wire.read_packet`: length, codec, limits, checksum; nothing below is sized by what failed there
    lane states     give back the bytes that they were filled with
    escapes         all of them, since the values of one group are needed before the next can be decoded
    hyper-latents   make the features of the probability model
    five groups     table rows from the model, columns from the coder, escapes in their places; mean + symbol is what
                    the next group's context sees
    signs           of the last group: what the lanes end with, and the words that none of them took
    `verdict`       lanes, words and escapes must be used up exactly

The first thing that fails is the status, and stands: from there on stages decode one element of row 0, which leaves the
lanes alone, and hold zeros. A stage with which the packet would take too many steps is refused before its loop begins.
That a packet is sound is known only at the end, so size is 0 and there are no symbols unless the status is OK; and the
latents are cut to one block, so that nothing larger is made of what is refused.

Everything is whole numbers up to the division by the gain, which makes the latents. `Reader` writes the graph as it
goes and keeps what one stage leaves to the next (states, position, escapes used): its methods are called in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from latentwire.export.graph import (
    BOOL,
    FLOAT,
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
from latentwire.export.image import prior, signs, states
from latentwire.export.image.alphabets import Alphabet, alphabets
from latentwire.export.image.pack import SYMBOL_LIMIT
from latentwire.export.image.tables import HYPER_PATCH, HYPER_ZERO, PATCH, SIXTEENTHS, ImageTables
from latentwire.runtime.wire import MAX_STEPS, Limits, Status, cost_of_pictures

BLOCK = HYPER_PATCH // PATCH
"""Positions of latents in one of hyper-latents, each way."""


def build_unpack(tables: ImageTables, codec_id: bytes, limits: Limits) -> onnx.ModelProto:
    """Packet uint8 [n] -> latents float32 [1, L, h, w], quality uint8 [1], size int64 [3], symbols and status int64 [].

    Symbols are int32 [h, w, L], the hyper-latents' int32 [h / 4, w / 4, Z]. Where status is not 0, size is 0 and there
    are no symbols; latents are of one block then, and not to be used.
    """
    cost = cost_of_pictures(
        tables.hyper_curve, tables.hyper_index, tables.hyper_frequency, tables.frequency, tables.latents
    )

    def trace(op: Op, packet: Value) -> Sequence[Value]:
        parsed = wire.read_packet(op, codec_id, limits, cost, lambda size: prior.blocks(op, size), packet)
        refused = op.Cast(op.Greater(parsed.status, 0), to=INT64)
        size = op.Max(parsed.size, refused)  # a refused packet is worked through as one pixel without symbols
        cells = prior.grid(op, size)
        reader = Reader(op, tables, parsed)
        hyper = reader.decode_hyper(prior.hyper_rows(op, tables, parsed.quality, cells))
        prior.run_stages(op, tables, hyper, parsed.quality, cells, reader.decode)
        status = reader.verdict()
        good = op.Cast(op.Equal(status, int(Status.OK)), to=INT64)
        kept = op.Max(op.Mul(good, 1 << 31), BLOCK)
        latents = op.Slice(op.Concat(*reader.decoded, axis=3), [0, 0], op.Concat(kept, kept, axis=0), [1, 2])
        restored = op.Div(latents, prior.gain_at(op, tables, parsed.quality))
        hyper_symbols, *groups = [
            op.Slice(op.Squeeze(part, [0]), [0], op.Mul(good, 1 << 31)) for part in reader.symbols
        ]
        return [
            op.Transpose(restored, perm=integer.CHANNELS_FIRST),
            op.Cast(op.Unsqueeze(parsed.quality, [0]), to=UINT8),
            op.Mul(size, good),
            op.Concat(*groups, axis=2),
            hyper_symbols,
            op.Squeeze(status, [0]),
        ]

    symbols: dict[str, list[int | str]] = {
        "symbols": ["symbol_height", "symbol_width", tables.latents],
        "hyper_symbols": ["hyper_height", "hyper_width", tables.hyper],
    }
    return build_unpack_piece(trace, tables.latent_shape, 3, symbols, gives_quality=True)


@dataclass(frozen=True)
class Book:
    """An alphabet and its `rans.slot_table`."""

    alphabet: Alphabet
    slots: rans.Slots


class Reader:
    """Decodes one stage after the other; a stage that is refused, and all after it, hold zeros."""

    def __init__(self, op: Op, tables: ImageTables, parsed: wire.Parsed) -> None:
        self.op, self.parsed = op, parsed
        found = alphabets(op, tables)
        self.hyper, self.signed, self.magnitudes = (
            Book(alphabet, rans.slot_table(op, rans.NARROW, alphabet.frequency, alphabet.rows, alphabet.columns))
            for alphabet in (found.hyper, found.signed, found.magnitudes)
        )
        self.states, body = states.empty(op, parsed.states, parsed.body)
        self.escaped, complete, words = self.read_escapes(body)
        self.stream, self.words = words
        self.status = op.Where(
            op.Greater(parsed.status, 0), parsed.status, op.Mul(op.Cast(op.Not(complete), to=INT64), int(Status.BODY))
        )
        self.position = rans.NARROW.constants(op, [0])
        self.steps = vector(op, [0])
        self.escapes_used = rans.NARROW.constants(op, [0])
        self.symbols: list[Value] = []
        self.decoded: list[Value] = []

    def read_escapes(self, body: Value) -> tuple[Value, Value, tuple[Value, Value]]:
        """(Escaped values int32 [m >= 1], whether all is there, (words int32 [k >= 1], their number)); [1] each."""
        op = self.op
        length, width, plausible = escapes.first_number(op, body)
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
        padded = op.Cast(op.Slice(op.Pad(words, [0, 3], 0), [0], op.Add(op.Mul(whole, 2), 2)), to=INT32)
        low, high = (op.Slice(padded, [first], [1 << 31], [0], [2]) for first in (0, 1))
        stream = op.Add(low, op.Mul(high, 256))
        even = op.Equal(op.Mul(whole, 2), op.Shape(words))
        return self.bounded(values), op.And(op.And(fits, even), op.Unsqueeze(exact, [0])), (stream, whole)

    def decode_hyper(self, rows: Value) -> Value:
        """Hyper-latents' symbols plus `HYPER_ZERO`, bytes, of table rows uint8 [1, h / 4, w / 4, Z]."""
        op = self.op
        coded = op.Cast(rows, to=BOOL)
        values = self.take(op.Cast(op.Compress(flat(op, rows), flat(op, coded)), to=INT32), self.hyper)
        symbols = self.place(coded, values)
        self.symbols.append(symbols)
        return op.Cast(op.Clip(op.Add(symbols, HYPER_ZERO), 0, integer.BYTE), to=UINT8)  # type: ignore[no-any-return]

    def decode(self, found: prior.Prediction) -> Value | None:
        """Decoded latents of one group, in sixteenths of a step; nothing needs the last one's."""
        op = self.op
        rows = op.Cast(op.Compress(flat(op, found.rows), flat(op, found.coded)), to=INT32)
        values = self.take_signed(rows) if found.last else self.take(rows, self.signed)
        symbols = self.place(found.coded, values)
        self.symbols.append(symbols)
        sixteenths = op.Mul(op.Cast(symbols, to=FLOAT), float(SIXTEENTHS))
        decoded = sixteenths if found.mean is None else op.Add(sixteenths, found.mean)
        self.decoded.append(decoded)
        return None if found.last else decoded

    def place(self, coded: Value, values: Value) -> Value:
        """A picture of values int32 [m >= 1] in order where ``coded`` bool [1, h, w, c] is set, 0 elsewhere.

        All of it is 0 if the packet was refused until now.
        """
        op = self.op
        present = op.Cast(op.And(coded, op.Equal(self.status, 0)), to=INT32)
        order = op.Clip(op.Sub(op.CumSum(flat(op, present), 0), 1), 0, 1 << 30)
        grid = op.Reshape(op.GatherElements(values, order), op.Shape(present))
        return op.Mul(grid, present)  # type: ignore[no-any-return]

    def take(self, rows: Value, book: Book) -> Value:
        """Symbols int32 [max(n, 1)] of elements with table rows int32 [n]."""
        op = self.op
        found, escaped = self.columns(rows, book)
        return op.Where(escaped, self.next_escapes(escaped), op.Sub(found, book.alphabet.zero))  # type: ignore[no-any-return]

    def take_signed(self, rows: Value) -> Value:
        """The same of the last group, whose signs come after its magnitudes."""
        op = self.op
        found, escaped = self.columns(rows, self.magnitudes)
        signed = op.And(op.Greater(found, 0), op.Not(escaped))
        order, number = escapes.numbered(op, signed)
        self.signs = signs.Signs(op, self.states, self.stream, self.position, op.Cast(number, to=INT64))
        negative = op.Mul(escapes.chosen(op, self.signs.negative, order), op.Cast(signed, to=INT32))
        values = op.Mul(found, op.Sub(1, op.Mul(negative, 2)))
        return op.Where(escaped, self.next_escapes(escaped), values)  # type: ignore[no-any-return]

    def columns(self, rows: Value, book: Book) -> tuple[Value, Value]:
        """(Table columns int32 [max(n, 1)] of elements with table rows int32 [n], whether they are escapes).

        Where nothing may or need be decoded, one element of row 0 is: it leaves the lanes alone.
        """
        op = self.op
        self.steps = op.Add(self.steps, rans.steps_for(op, op.Size(rows), self.parsed.lanes))
        refused = op.And(op.Greater(self.steps, MAX_STEPS), op.Equal(self.status, 0))
        self.status = op.Max(self.status, op.Mul(op.Cast(refused, to=INT64), int(Status.LIMIT)))
        todo = op.Mul(op.Shape(rows), op.Cast(op.Equal(self.status, 0), to=INT64))
        grid = rans.grid(op, op.Slice(rows, [0], todo), op.Squeeze(todo, [0]), self.parsed.lanes, filler=0)
        decoded, self.states, self.position = rans.decode(
            op, rans.NARROW, book.slots, grid, self.states, self.stream, self.position
        )
        found = op.Slice(decoded, [0], op.Max(todo, 1))
        return found, op.And(op.Equal(found, book.alphabet.columns - 1), op.Greater(todo, 0))

    def bounded(self, values: Value) -> Value:
        """As int32; an escape of a forged packet may be anything."""
        return self.op.Cast(self.op.Clip(values, -SYMBOL_LIMIT, SYMBOL_LIMIT), to=INT32)  # type: ignore[no-any-return]

    def next_escapes(self, escaped: Value) -> Value:
        """The listed values in the places of ``escaped`` bool [n]; anything elsewhere."""
        op = self.op
        order, number = escapes.numbered(op, escaped)
        places, self.escapes_used = (op.Add(count, self.escapes_used) for count in (order, number))
        return escapes.chosen(op, self.escaped, places)

    def verdict(self) -> Value:
        """The packet's status, int64 [1], once all stages are decoded."""
        op = self.op
        found = self.signs
        all_escapes = op.Equal(op.Cast(self.escapes_used, to=INT64), self.listed)
        unused = op.Or(op.Not(op.Equal(found.position, self.words)), op.Not(all_escapes))
        final = wire.first_failure(op, [(found.unsettled, Status.LANES), (op.Or(unused, found.excess), Status.BODY)])
        return op.Where(op.Greater(self.status, 0), self.status, final)  # type: ignore[no-any-return]
