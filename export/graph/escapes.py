"""The escape list: values that their table does not hold, as LEB128 of their zigzag code, all of them at once.

A byte carries 7 bits, lowest first; its top bit says that another byte follows (DWARF 4, section 7.6). Zigzag maps
0, -1, 1, -2, ... to 0, 1, 2, 3, ... so that small magnitudes stay short. No loop: each value is split into five
candidate bytes and those that are needed are kept.
"""

from __future__ import annotations

from latentwire.export.graph.builder import INT32, INT64, Op, Value, count, flat, vector

MAX_BYTES = 5
GROUPS = [128**i for i in range(MAX_BYTES)]
MAX_MAGNITUDE = 1 << 30
"""Symbols are clipped to +-2^30, so that a zigzag code has at most 31 bits."""


def write(op: Op, values: Value) -> Value:
    """Bytes int64 [m] for ``values`` int64 [n], |value| <= 2^30."""
    zigzag = op.Where(op.Less(values, 0), op.Sub(op.Mul(values, -2), 1), op.Mul(values, 2))
    rest = op.Div(op.Unsqueeze(zigzag, [-1]), vector(op, GROUPS))
    more = op.Cast(op.GreaterOrEqual(rest, 128), to=INT64)
    candidates = op.Add(op.BitwiseAnd(rest, 127), op.Mul(more, 128))
    needed = op.Greater(op.Add(rest, vector(op, [1, 0, 0, 0, 0])), 0)
    return op.Compress(flat(op, candidates), flat(op, needed))  # type: ignore[no-any-return]


def read(op: Op, data: Value, wanted: Value) -> tuple[Value, Value]:
    """Parse bytes int64 [m] that must hold exactly ``wanted`` (int64 scalar) values.

    Returns:
        (values int64 [k + 1] whose last entry is padding, so that a look-up never meets an empty list; whether the
        bytes hold exactly ``wanted`` complete values of at most five bytes, bool scalar).
    """
    ends = op.Less(data, 128)
    ended = op.Cast(ends, to=INT64)
    owner = op.CumSum(ended, 0, exclusive=1)
    starts = op.Concat(vector(op, [0]), op.Add(flat(op, op.NonZero(ends)), 1), axis=0)
    place = op.Sub(op.Range(0, op.Squeeze(op.Shape(data), [0]), 1), op.Gather(starts, owner))
    scaled = op.Mul(op.BitwiseAnd(data, 127), op.Gather(vector(op, GROUPS), op.Min(place, MAX_BYTES - 1)))
    empty = op.Expand(vector(op, [0]), op.Shape(starts))
    zigzag = op.ScatterElements(empty, owner, scaled, axis=0, reduction="add")
    half = op.Div(zigzag, 2)
    values = op.Where(op.Equal(op.BitwiseAnd(zigzag, 1), 1), op.Sub(-1, half), half)
    too_long = count(op, op.GreaterOrEqual(place, MAX_BYTES))
    unfinished = op.Sub(op.Squeeze(op.Shape(data), [0]), op.Gather(starts, [-1]))
    exact = op.And(op.Equal(count(op, ends), wanted), op.Equal(op.Add(too_long, unfinished), 0))
    return values, op.Squeeze(exact)


def numbered(op: Op, flags: Value) -> tuple[Value, Value]:
    """(How many of flags bool [n >= 1] are set before each that is, int32 [n]; how many there are, int32 [1])."""
    counts = op.CumSum(op.Cast(flags, to=INT32), 0)
    return op.Sub(counts, 1), op.Slice(counts, [-1], [1 << 31])


def chosen(op: Op, values: Value, places: Value) -> Value:
    """Values at places int32, the last one's for all that are beyond; -1 is the last one's as well."""
    last = op.Cast(op.Sub(op.Shape(values), 1), to=INT32)
    return op.GatherElements(values, op.Min(places, last))  # type: ignore[no-any-return]


def first_number(op: Op, data: Value) -> tuple[Value, Value, Value]:
    """The LEB128 zigzag number that bytes int64 [n] start with: (number, its bytes, whether it is one), [1] each."""
    head = op.Slice(op.Pad(data, [0, MAX_BYTES], 128), [0], [MAX_BYTES])
    ends = op.Cast(op.Less(head, 128), to=INT64)
    last = op.ArgMax(ends, axis=0, keepdims=1)
    used = op.Cast(op.LessOrEqual(vector(op, list(range(MAX_BYTES))), last), to=INT64)
    zigzag = op.ReduceSum(op.Mul(op.Mul(op.BitwiseAnd(head, 127), vector(op, GROUPS)), used), [0])
    plausible = op.And(op.Greater(op.ReduceMax(ends, [0]), 0), op.Equal(op.BitwiseAnd(zigzag, 1), 0))
    return op.Div(zigzag, 2), op.Min(op.Add(last, 1), op.Shape(data)), plausible
