"""The lanes' last states as the packet holds them: 32 bits each, filled up with the bytes that come behind them.

A state lies in [2^15, 2^31): it tells 15 to 31 bits, and takes 32. One below 2^23 has room for another byte, and takes
the next of those behind the states; the top bit says so. A lane costs 5 bits on average that way, in place of 8.
"""

from __future__ import annotations

from latentwire.export.graph import BOOL, INT64, NARROW, Op, Value

ROOMY = (NARROW.low << 16) >> 8
"""States below this one have room for a byte."""
FILLED = 1 << 31


def fill(op: Op, states: Value, data: Value) -> tuple[Value, Value]:
    """(Filled states, the bytes that remain), int64, of states int32 [lanes] and the bytes int64 [n] behind them."""
    plain = op.Cast(states, to=INT64)
    roomy = op.Cast(op.Less(plain, ROOMY), to=INT64)
    place = op.CumSum(roomy, 0, exclusive=1)
    takes = op.Mul(roomy, op.Cast(op.Less(place, op.Shape(data)), to=INT64))
    taken = op.GatherElements(op.Pad(data, [0, 1], 0), op.Min(place, op.Shape(data)))
    filled = op.Add(op.Add(op.Mul(plain, 256), taken), FILLED)
    return op.Where(op.Cast(takes, to=BOOL), filled, plain), op.Slice(data, op.ReduceSum(takes, [0]), [1 << 31])


def empty(op: Op, states: Value, data: Value) -> tuple[Value, Value]:
    """(States int32 [lanes], all bytes behind them): the inverse, of any 32 bits."""
    filled = op.GreaterOrEqual(states, FILLED)
    plain = op.BitwiseAnd(states, FILLED - 1)
    found = op.Where(filled, op.Div(plain, 256), plain)
    taken = op.Compress(op.BitwiseAnd(states, 255), filled)
    return op.Cast(found, to=NARROW.dtype), op.Concat(taken, data, axis=0)
