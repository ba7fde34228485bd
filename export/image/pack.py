"""The integer piece of the encoder: latents to a packet.

In this order (`build_pack`):

    latents         times the quality's gain: sixteenths of a step; the hyper-analysis makes hyper-latents of them
    hyper-latents   noted, and handed on as a decoder will have them
    five groups     mean and table row from the probability model, the offset from the mean cut off to a symbol, noted;
                    mean + symbol is what the next group's context sees
    `Writer.finish` everything that was noted is coded at once

Floats end where the hyper-analysis makes bytes of them, and where `whole` cuts offsets off (the dead zone is in
`steps`). The probability model is given only what a decoder has too, never a latent as it was: both compute the same
rows, whatever the floats were.

Nothing is coded before the end, for three reasons: rANS codes the last symbol first; how many lanes there are goes by
the length of everything; and the signs of the last group are what the lanes start from. So: list the escapes, gather
the signs to words, add up the cost, choose the lanes, start them from the first words of signs, code, and fill the last
states with the bytes behind them. `unpack` does the same backwards.

What is sent of each stage, where it belongs and what it costs have names in the graph, by which
`latentwire.export.tap` reads them off: verification holds them against what `unpack` finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from latentwire.export.graph import (
    BOOL,
    COST_UNITS,
    FLOAT,
    INT32,
    INT64,
    TOTAL,
    Op,
    Value,
    build_pack_piece,
    code_lengths,
    escapes,
    flat,
    integer,
    little_endian,
    number,
    rans,
    table,
    tap,
    vector,
    wire,
)
from latentwire.export.image import prior, signs, states
from latentwire.export.image.alphabets import Alphabet, alphabets
from latentwire.export.image.tables import HYPER_ZERO, SIXTEENTHS, ImageTables

SYMBOL_LIMIT = (1 << 23) - 1
"""Symbols are clipped to this magnitude, up to which float32 is exact."""
ESCAPED = 1 << 13
"""Added to the cost of values that their table does not hold; more than any cost."""
HALF = SIXTEENTHS / 2
LANE_BITS = 6
"""What a lane costs on average: 5 bits of its last state, and between 0 and 1 of the first. 16 more without signs."""
OVERHEAD = 84
"""Ideal bytes for each byte that a further lane costs: the lanes' overhead stays within 1.2 %."""


def build_pack(tables: ImageTables, codec_id: bytes) -> onnx.ModelProto:
    """Latents float32 [1, L, h, w], quality uint8 [], size int64 [3] -> packet uint8 [n]."""

    def trace(op: Op, latent: Value, quality: Value, size: Value) -> Sequence[Value]:
        level = op.Cast(quality, to=INT64)
        cells = prior.grid(op, size)
        scaled = op.Mul(op.Transpose(latent, perm=integer.CHANNELS_LAST), prior.gain_at(op, tables, level))
        writer = Writer(op, tables)
        hyper = writer.code_hyper(prior.hyper_analysis(op, tables, scaled), prior.hyper_rows(op, tables, level, cells))
        prior.run_stages(op, tables, hyper, level, cells, lambda found: writer.code(found, scaled))
        body, lanes_log2 = writer.finish()
        return [wire.write_packet(op, codec_id, 3, level, size, lanes_log2, body)]

    return build_pack_piece(trace, tables.latent_shape, 3)


@dataclass
class Coded:
    """What is coded of one stage, in order, [n] each.

    Attributes:
        values: int32.
        packed: int32, frequency | start of the interval << 13.
        cost: float32, ideal code length in 1/256 bit, a whole number; `ESCAPED` more for what escapes.
        escaped: bool, whether the table does not hold it.
    """

    values: Value
    packed: Value
    cost: Value
    escaped: Value


START_AT = 1 << 13
"""Where the start of the interval begins in what is packed."""


class Book:
    """An alphabet and what an encoder looks up in it, for columns 0 (the escape), 1 (column 0), ... of each row."""

    def __init__(self, op: Op, alphabet: Alphabet, lengths: Value) -> None:
        """Takes the code length of each frequency, float32 [4097]; all of this is done when a session is created."""
        self.op, self.alphabet = op, alphabet
        frequency = alphabet.frequency
        self.known = op.Greater(op.Slice(frequency, [0], [-1], [1]), 0)
        start = op.CumSum(frequency, number(op, 1), exclusive=1)
        self.packed = self.looked_up(op.Cast(op.Add(frequency, op.Mul(start, START_AT)), to=INT32), 0)
        self.cost = self.looked_up(op.Gather(lengths, frequency), ESCAPED)

    def looked_up(self, columns: Value, mark: int) -> Value:
        """[rows, columns] with the escape, ``mark`` added, for what is beyond either end or has frequency 0; flat."""
        op = self.op
        escape = op.Add(op.Slice(columns, [-1], [1 << 31], [1]), mark)
        symbols = op.Where(self.known, op.Slice(columns, [0], [-1], [1]), escape)
        return flat(op, op.Concat(escape, symbols, escape, axis=1))

    def find(self, values: Value, symbols: Value, rows: Value) -> Coded:
        """Values int32 [n] that are looked up as symbols int32 [n] in rows int32 [n]."""
        op, alphabet = self.op, self.alphabet
        column = op.Clip(op.Add(symbols, alphabet.zero + 1), 0, alphabet.columns)
        place = op.Add(op.Mul(rows, alphabet.columns + 1), column)
        cost = op.GatherElements(self.cost, place)
        return Coded(values, op.GatherElements(self.packed, place), cost, op.GreaterOrEqual(cost, float(ESCAPED)))


class Writer:
    """Collects the coded elements of hyper-latents and stages; `finish` entropy-codes them all at once."""

    def __init__(self, op: Op, tables: ImageTables) -> None:
        self.op = op
        lengths = op.Cast(table(op, code_lengths(np.arange(TOTAL + 1)).astype(np.uint16), "code_lengths"), to=FLOAT)
        found = alphabets(op, tables)
        self.hyper, self.signed, self.magnitudes = (
            Book(op, alphabet, lengths) for alphabet in (found.hyper, found.signed, found.magnitudes)
        )
        # For offsets in sixteenths, of which a half is 8.
        self.rounding = table(op, 2 * tables.rounding, "rounding")
        self.stages: list[Coded] = []

    def code_hyper(self, hyper: Value, rows: Value) -> Value:
        """Note the hyper-latents' symbols, bytes around `HYPER_ZERO`; returns them as the decoder will see them."""
        op = self.op
        coded = op.Cast(rows, to=BOOL)
        symbols = op.Sub(op.Cast(hyper, to=INT32), HYPER_ZERO)
        self.note_where(coded, symbols, rows, self.hyper)
        return op.Where(coded, hyper, integer.constant(op, HYPER_ZERO, np.uint8))  # type: ignore[no-any-return]

    def code(self, found: prior.Prediction, scaled: Value) -> Value | None:
        """Quantize one group of latents float32 [1, h, w, L] in sixteenths of a step, and note its symbols."""
        op = self.op
        own = op.Slice(scaled, [found.start], [found.start + found.channels], [3])
        offset = own if found.mean is None else op.Sub(own, found.mean)
        if found.last:
            self.code_last(found, offset)
            return None
        rounding = op.GatherElements(self.rounding, flat(op, op.Cast(found.rows, to=INT32)))
        moved = steps(op, offset, op.Reshape(rounding, op.Shape(offset)))
        symbols = op.Mul(whole(op, moved), op.Cast(found.coded, to=INT32))
        self.note_where(found.coded, symbols, found.rows, self.signed)
        scaled_up = op.Mul(op.Cast(symbols, to=FLOAT), float(SIXTEENTHS))
        return scaled_up if found.mean is None else op.Add(scaled_up, found.mean)  # type: ignore[no-any-return]

    def code_last(self, found: prior.Prediction, offset: Value) -> None:
        """Quantize the last and largest group; nothing looks at it again, so only what is coded is worked on."""
        op = self.op
        offset, rows = self.pick(found.coded, offset, found.rows)
        rows = op.Cast(rows, to=INT32)
        values = whole(op, steps(op, offset, op.GatherElements(self.rounding, rows)))
        self.note(values, op.Abs(values), rows, self.magnitudes)

    def pick(self, coded: Value, *pictures: Value) -> list[Value]:
        """What pictures of the stage that is noted next hold where ``coded`` bool, of the same shape, is set: [n] each.

        One Compress for all of them: it visits every element, a look-up only those that are wanted.
        """
        op = self.op
        coded.name = f"{tap.CODED}{len(self.stages)}"
        zero, one = integer.constant(op, 0, np.int32), integer.constant(op, 1, np.int32)
        everywhere = op.Range(zero, op.Cast(op.Size(coded), to=INT32), one)
        places = op.Compress(everywhere, flat(op, coded))
        return [op.GatherElements(flat(op, picture), places) for picture in pictures]

    def note_where(self, coded: Value, symbols: Value, rows: Value, book: Book) -> None:
        """Note those symbols int32 that are coded; ``rows`` are their bytes of table rows, of the same shape."""
        symbols, rows = self.pick(coded, symbols, rows)
        self.note(symbols, symbols, self.op.Cast(rows, to=INT32), book)

    def note(self, values: Value, looked_up: Value, rows: Value, book: Book) -> None:
        """Keep values int32 [n] for the entropy coder, looked up as symbols int32 [n] in table rows int32 [n]."""
        values.name = f"{tap.SENT}{len(self.stages)}"
        self.stages.append(book.find(values, looked_up, rows))

    def finish(self) -> tuple[Value, Value]:
        """(Lane states, escapes and words as bytes int64 [n], log2 of the lanes)."""
        op, stages = self.op, self.stages
        escaped = op.Concat(*[op.Compress(stage.values, stage.escaped) for stage in stages], axis=0)
        listed = escapes.write(op, op.Cast(escaped, to=INT64))
        negatives = self.last_negatives()
        sign_words = signs.to_words(op, negatives)
        cost = op.Add(self.ideal_cost(escaped), op.Mul(op.Size(negatives), COST_UNITS))
        cost.name = tap.COST
        coded = op.ReduceSum(op.Concat(*[op.Shape(stage.values) for stage in stages], axis=0), keepdims=0)
        lanes_log2 = rans.lanes_log2(op, cost, coded, worthwhile(op, op.Shape(sign_words)))
        lanes = op.Gather(vector(op, [1, *rans.DOUBLINGS]), lanes_log2)
        initial, more_words = signs.split(op, sign_words, lanes)
        last_states, words = self.entropy_coded(lanes, initial)
        numbers = op.Concat(op.Cast(words, to=INT64), more_words, axis=0)
        behind = op.Concat(escapes.write(op, op.Shape(listed)), listed, flat(op, little_endian(op, numbers, 2)), axis=0)
        filled, behind = states.fill(op, last_states, behind)
        return op.Concat(flat(op, little_endian(op, filled, 4)), behind, axis=0), lanes_log2

    def entropy_coded(self, lanes: Value, initial: Value) -> tuple[Value, Value]:
        """(Last states, words), int32, of all stages from states int32 [lanes]."""
        op = self.op
        # Each stage fills whole steps: the decoder knows a stage's table rows only when the one before is decoded.
        grids = [
            rans.grid(op, stage.packed, op.Size(stage.packed), lanes, filler=rans.NOTHING) for stage in self.stages
        ]
        gridded = op.Concat(*grids, axis=0)
        frequency, start = op.BitwiseAnd(gridded, START_AT - 1), op.Div(gridded, START_AT)
        return rans.encode(op, rans.NARROW, frequency, start, initial)

    def ideal_cost(self, escaped: Value) -> Value:
        """Code length of everything but signs in 1/256 bit, int64 scalar."""
        op = self.op
        costs = op.Concat(*[stage.cost for stage in self.stages], axis=0)
        rows = rans.grid(op, costs, op.Size(costs), number(op, 64), filler=0)
        # Sums of 64 are whole numbers below 2^24: exact in float32, which is summed much faster than integers.
        marked = op.ReduceSum(op.Cast(op.ReduceSum(rows, [1]), to=INT64), keepdims=0)
        return op.Sub(marked, op.Mul(op.Size(escaped), ESCAPED))  # type: ignore[no-any-return]

    def last_negatives(self) -> Value:
        """Whether negative, bool [n], of the last group's symbols that have a sign and are in their table."""
        op, last = self.op, self.stages[-1]
        signed = op.Not(op.Or(op.Equal(last.values, 0), last.escaped))
        return op.Compress(op.Less(last.values, 0), signed)  # type: ignore[no-any-return]


def worthwhile(op: Op, sign_words: Value) -> Value:
    """Ideal bytes that each number of lanes must have, from what lanes cost beside the first: see `LANE_BITS`."""
    doublings = vector(op, rans.DOUBLINGS)
    bits = op.Sub(op.Mul(doublings, LANE_BITS + signs.BITS), op.Mul(op.Min(doublings, sign_words), signs.BITS))
    return op.Div(op.Mul(op.Sub(bits, LANE_BITS), OVERHEAD), 8)  # type: ignore[no-any-return]


def steps(op: Op, offset: Value, twice: Value) -> Value:
    """Offsets from the mean in sixteenths of a step, as steps, moved away from 0 by half of ``twice``.

    An offset below half a step is moved by less, which is as well: it is 0, whatever the rounding.
    """
    half = (integer.constant(op, sign * HALF, np.float32) for sign in (-1, 1))
    moved = op.Add(offset, op.Mul(op.Clip(offset, *half), twice))
    return op.Mul(moved, 1 / SIXTEENTHS)  # type: ignore[no-any-return]


def whole(op: Op, steps: Value) -> Value:
    """Symbols int32 of steps: the whole part, cut off towards 0."""
    bounded = op.Cast(op.Clip(steps, float(-SYMBOL_LIMIT), float(SYMBOL_LIMIT)), to=INT32)
    # The second clip catches what a cast makes of NaN, which differs between processors.
    return op.Clip(bounded, -SYMBOL_LIMIT, SYMBOL_LIMIT)  # type: ignore[no-any-return]
