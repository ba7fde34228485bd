"""Layers of the image family's probability model in integer operators, rows of bytes in, rows of bytes or int32 out.

A picture is [h, w, C] or, as rows, [h * w, C]. Every layer is one ``MatMulInteger`` (uint8 times int8 into int32), to
which a kernel wider than 1x1 comes as shifted copies side by side: ``ConvInteger`` computes the same 20 times slower on
ONNX Runtime's CPU provider. Division truncates towards zero, so dividends are kept from going below zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from latentwire.export.graph.builder import INT32, UINT8, Op, Value, table, vector

WEIGHT_LIMIT = 63
"""Bytes times weights of more than 6 bits saturate in pairs on x86 without VNNI."""
BYTE = 255
END = 1 << 31
"""As the end of a slice: everything."""


@dataclass(frozen=True)
class Layer:
    """One integer layer.

    Attributes:
        name: prefix of its tables.
        weight: int8 [k * k * in, out] within +-63; rows ordered by kernel row, kernel column, channel.
        bias: int32 [out].
        divisor: int32 [out], powers of two.
        size: k.
        stride: 1 or 2.
        zero: byte that stands for 0 in the input.
    """

    name: str
    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    divisor: npt.NDArray[np.int32]
    size: int = 1
    stride: int = 1
    zero: int = 0

    def __post_init__(self) -> None:
        if np.abs(self.weight.astype(np.int32)).max(initial=0) > WEIGHT_LIMIT:
            raise ValueError(f"{self.name}: weights must lie within +-{WEIGHT_LIMIT}, or they saturate without VNNI")
        if np.abs(self.bias.astype(np.int64)).max(initial=0) + self.reach >= 1 << 30:
            raise ValueError(f"{self.name}: accumulators may not reach 2^30")

    @property
    def reach(self) -> int:
        """The largest magnitude of a sum of products."""
        return int(BYTE * np.abs(self.weight.astype(np.int64)).sum(0).max(initial=0))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is part of the codec id, if the layer is."""
        return {f"{self.name}.{key}": getattr(self, key) for key in ("weight", "bias", "divisor")}


def products(op: Op, layer: Layer, picture: Value) -> Value:
    """Sums of products int32 [h' * w', out] of bytes [h, w, in]; for 1x1 layers [P, in] will do."""
    rows = picture if layer.size == 1 else neighbourhoods(op, picture, layer)
    weight = table(op, layer.weight, f"{layer.name}.weight")
    if layer.zero:
        return op.MatMulInteger(rows, weight, byte(op, layer.zero))  # type: ignore[no-any-return]
    return op.MatMulInteger(rows, weight)  # type: ignore[no-any-return]


def byte(op: Op, number: int) -> Value:
    """A uint8 constant scalar."""
    return op.Constant(value=ir.tensor(np.asarray(number, np.uint8)))  # type: ignore[no-any-return]


def neighbourhoods(op: Op, picture: Value, layer: Layer) -> Value:
    """Each output position's k x k inputs as a row: [h, w, C] to [h / stride * w / stride, k * k * C]."""
    size, stride = layer.size, layer.stride
    before = (size - stride + 1) // 2
    after = size - stride - before
    padding = vector(op, [before, before, 0, after, after, 0])
    padded = op.Pad(picture, padding, byte(op, layer.zero))
    taps = [tap(op, padded, i, j, size, stride) for i in range(size) for j in range(size)]
    return op.Reshape(op.Concat(*taps, axis=2), [-1, layer.weight.shape[0]])  # type: ignore[no-any-return]


def tap(op: Op, padded: Value, row: int, column: int, size: int, stride: int) -> Value:
    """The inputs that lie under one element of the kernel."""
    ends = [END if at == size - 1 else at - size + 1 for at in (row, column)]
    return op.Slice(padded, [row, column], ends, [0, 1], [stride, stride])  # type: ignore[no-any-return]


def activation(op: Op, layer: Layer, picture: Value) -> Value:
    """Bytes [P, out]: the layer's output clipped to 0..255, which is its ReLU."""
    sums = op.Add(products(op, layer, picture), table(op, rounded_bias(layer), f"{layer.name}.offset"))
    steps = op.Div(sums, table(op, layer.divisor, f"{layer.name}.divisor"))
    return op.Cast(op.Clip(steps, 0, BYTE), to=UINT8)  # type: ignore[no-any-return]


def rounded_bias(layer: Layer) -> npt.NDArray[np.int32]:
    """Bias with half a divisor: division then rounds half up."""
    return layer.bias + layer.divisor // 2


def signed(op: Op, layer: Layer, sums: Value) -> Value:
    """Output int32 [P, out] of sums without bias, floor((sum + bias + divisor / 2) / divisor)."""
    lift = lift_of(layer)
    offset = table(op, rounded_bias(layer) + lift * layer.divisor, f"{layer.name}.offset")
    steps = op.Div(op.Add(sums, offset), table(op, layer.divisor, f"{layer.name}.divisor"))
    return op.Sub(steps, table(op, lift, f"{layer.name}.lift"))  # type: ignore[no-any-return]


def lift_of(layer: Layer) -> npt.NDArray[np.int32]:
    """How much to add to a quotient [out] so that no dividend is negative."""
    lowest = layer.reach + np.abs(layer.bias.astype(np.int64))
    return (lowest // layer.divisor + 1).astype(np.int32)


def reshaped(op: Op, rows: Value, shape: Sequence[Value | int], channels: int) -> Value:
    """Rows [h * w, C] as [h, w, C]; ``shape`` holds h and w, int64 [1] each."""
    return op.Reshape(rows, op.Concat(*shape, vector(op, [channels]), axis=0))  # type: ignore[no-any-return]


def pixel_shuffle(op: Op, rows: Value, height: Value, width: Value, channels: int) -> Value:
    """Rows [h * w, 4 C], ordered by row, column, channel within each position, to a picture [2 h, 2 w, C]."""
    blocks = op.Reshape(rows, op.Concat(height, width, vector(op, [2, 2, channels]), axis=0))
    spread = op.Transpose(blocks, perm=[0, 2, 1, 3, 4])
    shape = op.Concat(op.Mul(height, 2), op.Mul(width, 2), vector(op, [channels]), axis=0)
    return op.Reshape(spread, shape)  # type: ignore[no-any-return]


def squash(op: Op, magnitude: Value) -> Value:
    """min(m, 64) + min(m, 2048) / 16 of int32 magnitudes in sixteenths of a step: a logarithm's shape in 0..192."""
    fine, coarse = op.Min(magnitude, 64), op.Div(op.Min(magnitude, 2048), 16)
    return op.Add(fine, coarse)  # type: ignore[no-any-return]


def squashed_parts(op: Op, values: Value) -> tuple[Value, Value]:
    """Bytes of the squashed magnitude and of the squashed positive part of int32 values in sixteenths of a step."""
    size = squash(op, op.Abs(values))
    positive = op.Mul(size, op.Cast(op.Greater(values, 0), to=INT32))
    return op.Cast(size, to=UINT8), op.Cast(positive, to=UINT8)
