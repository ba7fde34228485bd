"""What lies between the values of items and those that networks work on: one factor and one offset, or one a channel.

Written for whatever has the arithmetic of arrays: NumPy's arrays and torch's tensors go through the same lines, and
`into_graph` and `back_graph` say the same in ONNX operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentwire.export.graph import FLOAT, Op, Value, table
from latentwire.runtime.errors import SettingError

Numbers = tuple[float, ...]
Values = Any
"""A torch tensor or a NumPy array."""


@dataclass(frozen=True)
class Affine:
    """values * factor + offset.

    Attributes:
        factor: one number, or one a channel.
        offset: as many.
        axis: of items [N, ...], along which the channels are; it has no meaning for a single number.
    """

    factor: Numbers = (1.0,)
    offset: Numbers = (0.0,)
    axis: int = 1

    def __call__(self, values: Values) -> Values:
        """Of values [N, ...], float32."""
        if len(self.factor) > 1:
            return values * self._spread(self.factor, values) + self._spread(self.offset, values)
        scaled = values * self.factor[0] if self.factor[0] != 1 else values
        return scaled + self.offset[0] if self.offset[0] else scaled

    def in_graph(self, op: Op, values: Value, rank: int, name: str) -> Value:
        """The same of a tensor of that rank; a table is named after ``name``."""
        for number, neutral, operate, part in (
            (self.factor, 1.0, op.Mul, "factor"),
            (self.offset, 0.0, op.Add, "offset"),
        ):
            if any(entry != neutral for entry in number):
                spread = np.asarray(number, np.float32).reshape(self._shape(len(number), rank))
                values = operate(values, table(op, spread if len(number) > 1 else spread.reshape(()), f"{name}_{part}"))
        return values

    def inverse(self) -> Affine:
        """What undoes it."""
        factor = tuple(1 / entry for entry in self.factor)
        # Adding 0.0 makes a zero of a negative zero, which would be an operation more.
        offset = tuple(-shift * back + 0.0 for shift, back in zip(self.offset, factor, strict=True))
        return Affine(factor, offset, self.axis)

    def after(self, first: Affine) -> Affine:
        """Both, ``first`` first."""
        count = max(len(self.factor), len(first.factor))
        mine, its = (_each(part, count) for part in (self, first))
        factor = tuple(a * b for (a, _), (b, _) in zip(mine, its, strict=True))
        offset = tuple(a * shift + own for (a, own), (_, shift) in zip(mine, its, strict=True))
        return Affine(factor, offset, self.axis if len(self.factor) > 1 else first.axis)

    def _shape(self, count: int, rank: int) -> tuple[int, ...]:
        return tuple(count if at == self.axis % rank else 1 for at in range(rank)) if count > 1 else (1,) * rank

    def _spread(self, numbers: Numbers, values: Values) -> Values:
        spread = np.asarray(numbers, np.float32).reshape(self._shape(len(numbers), values.ndim))
        return spread if isinstance(values, np.ndarray) else values.new_tensor(spread.tolist())


def _each(affine: Affine, count: int) -> list[tuple[float, float]]:
    """(factor, offset) of each of so many channels."""
    pairs = list(zip(affine.factor, affine.offset, strict=True))
    if len(pairs) not in (1, count):
        raise SettingError(f"expected as many numbers everywhere, one a channel, found {len(pairs)} and {count}")
    return pairs * count if len(pairs) == 1 else pairs


def between(source: tuple[float, float], target: tuple[float, float]) -> Affine:
    """What maps one range to another."""
    (low, high), (bottom, top) = source, target
    factor = (top - bottom) / (high - low)
    return Affine((factor,), (bottom - low * factor + 0.0,))


def standardized(mean: Sequence[float], std: Sequence[float], axis: int) -> Affine:
    """(values - mean) / std, one of each a channel."""
    return Affine(tuple(1 / one for one in std), tuple(-m / s + 0.0 for m, s in zip(mean, std, strict=True)), axis)


@dataclass(frozen=True)
class Scaling:
    """How items become what the encoder takes, and how what the decoder returns becomes items.

    Attributes:
        into: from values of the contract to those of the encoder's input.
        back: from the decoder's output to values of the contract.
        said: in words, for reports: "[-1, 1]".
    """

    into: Affine = field(default_factory=Affine)
    back: Affine = field(default_factory=Affine)
    said: str = "the values as they are"


def as_float(values: Values) -> Values:
    """Float32 of an array or tensor of any type."""
    return values.astype(np.float32) if isinstance(values, np.ndarray) else values.float()


def to_float(op: Op, values: Value, dtype: str) -> Value:
    """The same in the graph."""
    return values if dtype == "float32" else op.Cast(values, to=FLOAT)
