"""The signs of the last group: raw bits, which lie first of all in the states that the lanes start from.

A lane must start from 2^15 or more, and what it starts from comes out again when everything is decoded: room for one
word. A decoder gets it at the very end, and the last group's signs are all that it can do without until then. With them
a lane costs two bytes less, and there can be more lanes: fewer steps.

Signs are coded apart at no loss, since the tables are symmetric: the last group's symbols are coded as magnitudes.
"""

from __future__ import annotations

from latentwire.export.graph import INT32, INT64, NARROW, WORD, Op, Value, flat, number, vector

BITS = 16
WEIGHTS = [1 << k for k in range(BITS)]


def to_words(op: Op, negative: Value) -> Value:
    """Words int64 [ceil(n / 16)] of bool [n], the first one lowest."""
    bits = op.Cast(negative, to=INT64)
    missing = op.Sub(op.Mul(count_words(op, op.Shape(bits)), BITS), op.Shape(bits))
    padded = op.Pad(bits, op.Concat(vector(op, [0]), missing, axis=0), number(op, 0))
    return op.ReduceSum(op.Mul(op.Reshape(padded, [-1, BITS]), WEIGHTS), [1], keepdims=0)  # type: ignore[no-any-return]


def count_words(op: Op, bits: Value) -> Value:
    """How many words a number of bits takes."""
    return op.Div(op.Add(bits, BITS - 1), BITS)  # type: ignore[no-any-return]


def split(op: Op, words: Value, lanes: Value) -> tuple[Value, Value]:
    """(States int32 [lanes] to start from, the words int64 that find no room in them); ``lanes`` is an int64 scalar."""
    first = op.Slice(words, [0], op.Unsqueeze(lanes, [0]))
    missing = op.Sub(op.Unsqueeze(lanes, [0]), op.Shape(first))
    padded = op.Pad(first, op.Concat(vector(op, [0]), missing, axis=0), number(op, 0))
    states = op.Cast(op.Add(padded, NARROW.low), to=NARROW.dtype)
    return states, op.Slice(words, op.Unsqueeze(lanes, [0]), [1 << 31])


class Signs:
    """What a decoder finds in the lanes' last states and behind the words that they took.

    Attributes:
        negative: int32 [m], m >= n: 1 where the sign is negative.
        position: int64 [1], words used, these included.
        unsettled: bool [1], a state holds what it must not.
        excess: bool [1], bits are set behind the last sign.
    """

    def __init__(self, op: Op, states: Value, stream: Value, position: Value, number_of_signs: Value) -> None:
        """Read ``number_of_signs`` int64 [1] of them, from states and words int32, the latter from ``position`` on."""
        held = op.Sub(op.Cast(states, to=INT64), NARROW.low)
        wanted, position = count_words(op, number_of_signs), op.Cast(position, to=INT64)
        in_states = op.Min(wanted, op.Shape(states))
        self.position = op.Add(position, op.Sub(wanted, in_states))
        words = op.Concat(
            op.Slice(held, [0], in_states),
            op.Cast(op.Slice(stream, position, self.position), to=INT64),
            vector(op, [0]),  # never empty; too few words are noticed by the position
            axis=0,
        )
        bits = op.BitwiseAnd(op.Div(op.Unsqueeze(words, [1]), WEIGHTS), 1)
        self.negative = op.Cast(flat(op, bits), to=INT32)
        foreign = op.Or(op.Less(held, 0), op.GreaterOrEqual(held, WORD))
        idle = op.Slice(held, in_states, [1 << 31])
        nothing = vector(op, [0])
        self.unsettled = op.Or(
            op.Greater(op.ReduceMax(op.Cast(foreign, to=INT64), [0]), 0),
            op.Greater(op.ReduceMax(op.Concat(op.Abs(idle), nothing, axis=0), [0]), 0),
        )
        behind = op.Slice(self.negative, number_of_signs, [1 << 31])
        self.excess = op.Greater(op.ReduceMax(op.Concat(op.Cast(behind, to=INT64), nothing, axis=0), [0]), 0)
