"""Layers in whole numbers, made of trained float layers: what hyper networks become, so that all machines agree.

A layer takes whole numbers within bounds, multiplies them by whole weights and adds a whole bias. Every sum of these
stays below 2^24, so that float32 holds it exactly, in whatever order it is summed: an ordinary ``Conv`` computes it.
A power of two then divides it, halves are rounded up, and what lies outside of the bounds is cut off: whole numbers
again. How many bits weights and activations have follows from that sum alone; wide layers get fewer.

Each channel counts in a step of its own, chosen by what calibration pictures give; the next layer's weights make up
for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import EXACT, FLOAT, Op, Value, table

Floats = npt.NDArray[np.float64]
LEVELS = 192
"""Activations reach about so far on calibration pictures."""
ROOM = 1.5
"""They may go so much further before they are cut off."""
LARGEST_SUM = EXACT - (1 << 18)
"""What bias and products may reach together; the rest is for roundings."""
LARGEST_WEIGHT = (1 << 15) - 1
SLOPE = 5 / 512
"""Of a leaky ReLU below 0, for 0.01: exact for negative numbers down to -2^21."""
DEEPEST = 1 << 21


@dataclass(frozen=True)
class Scaled:
    """How whole numbers stand for real ones.

    Attributes:
        step: real value of 1, [C].
        bound: largest magnitude, [C].
    """

    step: Floats
    bound: npt.NDArray[np.int64]


def scaled_to(largest: Floats, step: Floats) -> Scaled:
    """Steps with bounds of `ROOM` for values that reach ``largest`` [C]."""
    return Scaled(step, np.floor(ROOM * largest / step).astype(np.int64) + 2)


@dataclass(frozen=True)
class WholeLayer:
    """A convolution of stride 1.

    Attributes:
        name: prefix of its tables.
        weight: int16 [out, in, k, k].
        bias: int32 [out].
        shift: int32 [out], log2 of the divisor.
        bound: int32 [out], largest magnitude of an output; 0 where outputs are not rounded.
        leaky: outputs below 0 are kept at a slope of `SLOPE`, not set to 0.
    """

    name: str
    weight: npt.NDArray[np.int16]
    bias: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    bound: npt.NDArray[np.int32]
    leaky: bool

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is part of the codec id."""
        names = ("weight", "bias", "shift", "bound")
        return {f"{self.name}.{key}": getattr(self, key) for key in names} | {
            f"{self.name}.leaky": np.array([self.leaky], np.uint8)
        }

    def sums(self, op: Op, picture: Value) -> Value:
        """Sum and bias over the divisor, exact: whole numbers over powers of two, float32 [1, out, h, w]."""
        size = self.weight.shape[-1]
        sums = op.Conv(
            picture,
            op.Cast(table(op, self.weight, f"{self.name}.weight"), to=FLOAT),
            table(op, self.bias.astype(np.float32), f"{self.name}.bias"),
            kernel_shape=[size, size],
            pads=[size // 2] * 4,
        )
        unit = np.exp2(-self.shift.astype(np.float64)).astype(np.float32)[:, None, None]
        return op.Mul(sums, table(op, unit, f"{self.name}.unit"))  # type: ignore[no-any-return]

    def activation(self, op: Op, picture: Value) -> Value:
        """Whole numbers float32 [1, out, h, w] of whole numbers float32 [1, in, h, w]."""
        sums = self.sums(op, picture)
        bound = table(op, self.bound.astype(np.float32)[:, None, None], f"{self.name}.bound")
        if self.leaky:
            sums = op.Max(sums, op.Mul(op.Max(sums, float(-DEEPEST)), float(SLOPE)))
            lowest = op.Neg(bound)
        else:
            lowest = op.Mul(bound, 0.0)
        return op.Max(op.Min(op.Floor(op.Add(sums, 0.5)), bound), lowest)  # type: ignore[no-any-return]


def fit_layer(
    name: str,
    weight: Floats,
    bias: Floats,
    given: Scaled,
    largest: Floats | None,
    *,
    leaky: bool,
    together: int = 1,
) -> tuple[WholeLayer, Scaled]:
    """A float layer in whole numbers, and how its outputs are scaled.

    Args:
        name: prefix of its tables.
        weight: [out, in, k, k].
        bias: [out].
        given: the inputs.
        largest: largest magnitude of each output on calibration pictures, behind the activation, [out]; None for the
            last layer, whose outputs are not rounded: their steps are powers of two.
        leaky: see `WholeLayer`.
        together: so many outputs in a row become one channel, and share their step.
    """
    real = weight * given.step[None, :, None, None]
    reach = (np.abs(real) * given.bound[None, :, None, None]).sum((1, 2, 3)) + np.abs(bias)
    finest = np.maximum(reach / LARGEST_SUM, np.abs(real).max((1, 2, 3)) / LARGEST_WEIGHT)
    unit = _shared(np.maximum(finest * 1.02, 2.0**-40), together)
    if largest is None:
        unit = np.exp2(np.ceil(np.log2(unit)))
    whole = np.rint(real / unit[:, None, None, None])
    offset = np.rint(bias / unit)
    if largest is None:
        shift, bound, step = -np.log2(unit), np.zeros(len(unit)), unit
    else:
        most = _shared(largest, together)
        shift = np.maximum(np.ceil(np.log2(np.maximum(most, 1e-9) / (unit * LEVELS))), 0)
        step = unit * np.exp2(shift)
        bound = scaled_to(most, step).bound.astype(np.float64)
    sums = (np.abs(whole) * given.bound[None, :, None, None]).sum((1, 2, 3)) + np.abs(offset)
    if sums.max(initial=0) >= EXACT:
        raise ValueError(f"{name}: sums may reach {sums.max():.0f}, float32 is exact below {EXACT}")
    layer = WholeLayer(
        name,
        whole.astype(np.int16),
        offset.astype(np.int32),
        shift.astype(np.int32),
        bound.astype(np.int32),
        leaky,
    )
    return layer, Scaled(step[::together], bound[::together].astype(np.int64))


def _shared(numbers: Floats, together: int) -> Floats:
    """The largest of each so many in a row, in all their places."""
    return np.repeat(numbers.reshape(-1, together).max(1), together)
