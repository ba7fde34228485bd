"""Interleaved rANS as two ONNX ``Scan`` loops (Giesen 2014, "Interleaved entropy coders"; Duda 2013, rANS).

A lane is one number x, its state. Coding a symbol of frequency f whose interval starts at s makes
x // f * 4096 + x % f + s of it. The lowest 12 bits then lie in the symbol's interval: a decoder reads the symbol off
them and undoes the step. It is a stack: the encoder goes from the last step to the first, the decoder from the first to
the last.

Between two steps every state lies in [low, 2^16 low). Where a step of the encoder would leave that range, the lane
gives its lowest 16 bits away first, as a word; where a step of the decoder falls below low, the lane takes one. The
range is one word wide and low a multiple of 4096, so it is the same lanes at the same elements, one word each. Words
lie in the order of steps, within a step in that of lanes: a running sum over the lanes that want one says whose is
whose. The encoder's loop carries nothing but states; which words it gave away is read off them afterwards, all at once.

A symbol of frequency 4096 leaves its state alone: padding to whole steps. When everything is decoded, the states are
those that the encoder started from, and all words are used. Whoever calls `decode` checks both: only there damage shows
that the checksum did not. Hostile bytes make wrong columns and nothing worse: look-ups stay within their tables, words
within the stream, and the number of steps is bounded by `runtime.wire.MAX_STEPS` before a loop begins.

Why these ops: BitShift is unsigned only, Where has no uint32 or uint64 and CumSum is int32 or int64 only, so all
arithmetic is signed and shifts are ``Div`` and ``Mul`` by powers of two. Only what is sequential is inside a
Scan; table look-ups of the encoder, the words it emits and the decoder's symbols are vectorised around it. On a few
hundred lanes ONNX Runtime's ``Where`` takes five times as long as arithmetic and ``Gather`` three times as long as
``GatherElements`` (measured with 1.32), so the loops have neither.

Shapes: T steps, L lanes, element t * L + l belongs to step t of lane l. Frequencies have 12 bits. A word has 16 bits; a
lane takes at most one a step. How wide a lane's state is, a `Coder` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from latentwire.export.graph.builder import INT32, INT64, Op, Value, flat, loop_body, number, value, vector
from latentwire.export.graph.coding import COST_UNITS, TOTAL
from latentwire.runtime.wire import LANE_ELEMENTS, MAX_LANES_LOG2

WORD = 1 << 16


@dataclass(frozen=True)
class Coder:
    """What the lanes count in.

    Attributes:
        dtype: of states, frequencies, starts and words: int32 or int64.
        low: a state lies in [low, 2^16 low). It starts there and, when everything is decoded, is there again. A
            multiple of ``total``.
        total: what the frequencies of a table row sum to, a power of two.
    """

    dtype: ir.DataType
    low: int
    total: int = TOTAL

    @property
    def room(self) -> int:
        """States below frequency * room take a symbol of that frequency without a word having to go before."""
        return self.low * WORD // self.total

    def constants(self, op: Op, numbers: Sequence[int]) -> Value:
        """A vector of its type."""
        return op.Cast(vector(op, numbers), to=self.dtype)  # type: ignore[no-any-return]


WIDE = Coder(INT64, 1 << 16)
NARROW = Coder(INT32, 1 << 15)
"""A step of 256 lanes takes four fifths of the time on x86-64; states of 31 bits leave one for `states.fill`."""
FINE = Coder(INT64, 1 << 16, 1 << 16)
"""For tables of 16 bits, as others have them. A state may be as small as their sum: 0.002 bits a symbol lost."""
NOTHING = TOTAL
"""Pads an encoder's grid: the whole interval, frequency 4096 from 0, leaves a state alone."""
DOUBLINGS = [1 << k for k in range(1, MAX_LANES_LOG2 + 1)]
"""The numbers of lanes above one that there can be."""


def lanes_log2(op: Op, cost: Value, coded: Value, worthwhile: Value) -> Value:
    """Choose log2(lanes) from the ideal code length; integer arithmetic, so every machine chooses the same.

    A lane costs bytes, since its last state carries fewer bits than it takes, and saves steps. Long runs of nearly free
    symbols get lanes by count, to keep T below `MAX_STEPS` of `latentwire.runtime.wire`.

    Args:
        op: op builder.
        cost: ideal code length of all elements in 1/256 bit, int64 scalar.
        coded: number of coded elements, int64 scalar.
        worthwhile: how many ideal bytes there must be for each of `DOUBLINGS`, rising, int64 [12].

    Returns:
        int64 scalar in 0..12.
    """
    by_bytes = op.GreaterOrEqual(cost, op.Mul(worthwhile, 8 * COST_UNITS))
    by_count = vector(op, [LANE_ELEMENTS * lanes for lanes in DOUBLINGS])
    wanted = op.Or(by_bytes, op.Greater(coded, by_count))
    return op.ReduceSum(op.Cast(wanted, to=INT64), keepdims=0)  # type: ignore[no-any-return]


def steps_for(op: Op, coded: Value, lanes: Value) -> Value:
    """T = max(1, ceil(coded / lanes)), int64 scalar: ONNX Runtime's Scan wants at least one step."""
    return op.Max(op.Div(op.Sub(op.Add(coded, lanes), 1), lanes), 1)  # type: ignore[no-any-return]


def grid(op: Op, elements: Value, coded: Value, lanes: Value, filler: int) -> Value:
    """Pad ``elements`` [coded] with ``filler`` and reshape to [T, lanes]."""
    steps = steps_for(op, coded, lanes)
    missing = op.Sub(op.Mul(steps, lanes), coded)
    padded = op.Pad(elements, op.Concat(vector(op, [0]), op.Unsqueeze(missing, [0]), axis=0), filler)
    return op.Reshape(padded, op.Concat(op.Unsqueeze(steps, [0]), op.Unsqueeze(lanes, [0]), axis=0))  # type: ignore[no-any-return]


def encode(op: Op, coder: Coder, frequency: Value, start: Value, initial: Value | None = None) -> tuple[Value, Value]:
    """Encode [T, L] elements, given as their frequency (1..4096) and start of their interval.

    Args:
        op: op builder.
        coder: gives the type of all tensors here.
        frequency: [T, L]; 4096 with start 0 leaves the state alone (padding).
        start: [T, L].
        initial: states [L] to start from, which come out again when all is decoded; the lowest if None.

    Returns:
        (states [L], words [n] in the order in which the decoder reads them).
    """
    # The largest state that takes the symbol as it is: unlike the smallest that does not, it is a number of the type.
    highest = op.Add(op.Mul(op.Sub(frequency, 1), coder.room), coder.room - 1)
    complement = op.Sub(coder.total, frequency)
    if initial is None:
        initial = op.Expand(coder.constants(op, [coder.low]), op.Shape(frequency, start=1, end=2))
    shifts = coder.constants(op, [1, WORD])

    def step(
        op: Op, state: Value, highest: Value, frequency: Value, complement: Value, start: Value
    ) -> Sequence[Value]:
        """Every lane: x // f * 4096 + x % f + s, written as x + x // f * (4096 - f) + s; and without s.

        The second saves the loop a copy of the state for those who want to see it.
        """
        full = op.Cast(op.Greater(state, highest), to=coder.dtype)
        kept = op.Div(state, op.GatherElements(shifts, full))
        unmoved = op.Add(kept, op.Mul(op.Div(kept, frequency), complement))
        return op.Add(unmoved, start), unmoved

    names = ("state", "highest", "frequency", "complement", "start")
    body = loop_body(
        op,
        "encode_step",
        step,
        [value(n, coder.dtype, ["L"]) for n in names],
        [value(n, coder.dtype, ["L"]) for n in ("next", "unmoved")],
    )
    states, unmoved = op.Scan(
        initial,
        highest,
        frequency,
        complement,
        start,
        body=body,
        num_scan_inputs=4,
        scan_input_directions=[1, 1, 1, 1],
        scan_output_directions=[1],
        _outputs=2,
    )
    after = op.Add(unmoved, start)
    before = op.Concat(op.Slice(after, [1], [1 << 31]), op.Unsqueeze(initial, [0]), axis=0)
    emitted = flat(op, op.Greater(before, highest))
    return states, op.BitwiseAnd(op.Compress(flat(op, before), emitted), WORD - 1)


class Lookup(Protocol):
    """Finds the symbol whose interval holds a slot."""

    @property
    def span(self) -> int:
        """Entries of a table row: rows are multiplied by it before the loop."""

    def find(self, op: Op, base: Value, slot: Value) -> tuple[Value, Value, Value]:
        """(Frequency, slot - start, place in the table), [L] each, for rows * ``span`` and slots [L]."""

    def columns_of(self, op: Op, places: Value) -> Value:
        """What the places [n] that were found stand for, [n]; made outside of the loop."""


@dataclass(frozen=True)
class Slots:
    """What a decoder looks up at row * 4096 + slot, [rows * 4096] each, of the coder's type.

    Attributes:
        entries: (slot - start) << 16 | frequency of the slot's symbol.
        columns: the symbol's column.
    """

    entries: Value
    columns: Value
    span: int = TOTAL

    def find(self, op: Op, base: Value, slot: Value) -> tuple[Value, Value, Value]:
        """See `Lookup`."""
        place = op.Add(base, slot)
        entry = op.GatherElements(self.entries, place)
        return op.BitwiseAnd(entry, WORD - 1), op.Div(entry, WORD), place

    def columns_of(self, op: Op, places: Value) -> Value:
        """See `Lookup`: the symbol's column."""
        return op.GatherElements(self.columns, places)  # type: ignore[no-any-return]


def slot_table(op: Op, coder: Coder, frequencies: Value, rows: int, columns: int) -> Slots:
    """Expand frequencies int64 [rows, columns] into what is looked up for each of rows * 4096 slots.

    Everything here is constant, so ONNX Runtime folds it when the session is created and the file holds the small table
    only.
    """
    starts = op.CumSum(frequencies, number(op, 1), exclusive=1)
    marks = op.Expand(vector(op, [0]), vector(op, [rows, TOTAL + 1]))
    ones = op.Expand(vector(op, [1]), vector(op, [rows, columns]))
    begun = op.CumSum(op.ScatterElements(marks, starts, ones, axis=1, reduction="add"), number(op, 1))
    column = op.Slice(op.Sub(begun, 1), [0], [TOTAL], [1])
    bias = op.Sub(op.Range(number(op, 0), number(op, TOTAL), number(op, 1)), op.GatherElements(starts, column, axis=1))
    entries = op.Add(op.Mul(bias, WORD), op.GatherElements(frequencies, column, axis=1))
    return Slots(*(op.Cast(flat(op, part), to=coder.dtype) for part in (entries, column)))


def decode(
    op: Op, coder: Coder, slots: Lookup, rows: Value, states: Value, stream: Value, position: Value | None = None
) -> tuple[Value, Value, Value]:
    """Decode [T, L] elements.

    Args:
        op: op builder.
        coder: gives the type of all tensors here.
        slots: of the table.
        rows: [T, L], table row of each element.
        states: [L].
        stream: words [n], n >= 1; reading past the end repeats the last word, which the end checks catch.
        position: number of words that were used before, [1]; 0 if None.

    Returns:
        (columns [T * L], end states [L], number of words used [1]).
    """
    last = op.Sub(op.Cast(op.Shape(stream), to=coder.dtype), 1)
    begin = coder.constants(op, [-1]) if position is None else op.Sub(position, 1)
    shifts, end = coder.constants(op, [1, WORD]), vector(op, [-1])

    def step(op: Op, state: Value, position: Value, base: Value) -> Sequence[Value]:
        frequency, bias, place = slots.find(op, base, op.BitwiseAnd(state, coder.total - 1))
        drained = op.Add(op.Mul(op.Div(state, coder.total), frequency), bias)
        hungry = op.Cast(op.Less(drained, coder.low), to=coder.dtype)
        at = op.Add(op.CumSum(hungry, 0), position)
        grown = op.Mul(drained, op.GatherElements(shifts, hungry))
        word = op.GatherElements(stream, op.Min(at, last))  # at may be -1, which is the last word: nobody takes it
        return op.Add(grown, op.Mul(word, hungry)), op.GatherElements(at, end), place

    body = loop_body(
        op,
        "decode_step",
        step,
        [value("state", coder.dtype, ["L"]), value("position", coder.dtype, [1]), value("base", coder.dtype, ["L"])],
        [value("next", coder.dtype, ["L"]), value("moved", coder.dtype, [1]), value("place", coder.dtype, ["L"])],
    )
    ends, at, places = op.Scan(states, begin, op.Mul(rows, slots.span), body=body, num_scan_inputs=1, _outputs=3)
    return slots.columns_of(op, flat(op, places)), ends, op.Add(at, 1)
