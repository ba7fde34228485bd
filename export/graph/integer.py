"""Layers of the image family's probability model: pictures of bytes in, pictures of bytes or of whole numbers out.

A picture is [1, h, w, C]. A layer adds products of bytes and small integers, adds a bias, divides by a power of two,
rounds and clips. ``QLinearConv`` does all of that in one operator, so that no sum ever lies in memory. Its sums are
int32; it scales them as float32, which is exact here: they are whole numbers below 2^24 and the scale is a power of two
(IEEE 754 leaves no choice), and it rounds halves to even on every machine. ``ConvInteger`` would leave the rest to four
more operators and computes 20 times slower on ONNX Runtime's CPU provider. What is no byte, or depends on the quality,
is a ``MatMul`` of dequantized bytes and weights, exact in float32 for the same reason, in whatever order it is summed;
ONNX Runtime makes one operator of the three that multiplies the bytes themselves.

ONNX convolutions want channels first. The transpositions around them are for the format's sake: ONNX Runtime's own
convolution has channels last, and its optimizer removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from latentwire.export.graph.builder import UINT8, Op, Value, table

WEIGHT_LIMIT = 63
"""Bytes times weights of more than 6 bits saturate in pairs on x86 without VNNI."""
BYTE = 255
EXACT = 1 << 24
"""Whole numbers up to it are float32 numbers."""
CHANNELS_FIRST = [0, 3, 1, 2]
CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True)
class Layer:
    """One integer layer.

    Attributes:
        name: prefix of its tables.
        weight: int8 [out, in, k, k] within +-63.
        bias: int32 [out].
        divisor: int32 [out], powers of two.
        stride: 1 or 2; sizes are divided by it.
        zero: byte that stands for 0 in the input.
    """

    name: str
    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    divisor: npt.NDArray[np.int32]
    stride: int = 1
    zero: int = 0

    def __post_init__(self) -> None:
        if np.abs(self.weight.astype(np.int32)).max(initial=0) > WEIGHT_LIMIT:
            raise ValueError(f"{self.name}: weights must lie within +-{WEIGHT_LIMIT}, or they saturate without VNNI")

    @property
    def size(self) -> int:
        """The kernel's side, k."""
        return int(self.weight.shape[-1])

    @property
    def reach(self) -> int:
        """The largest magnitude of a sum of products and bias."""
        products = BYTE * np.abs(self.weight.astype(np.int64)).sum((1, 2, 3))
        return int((products + np.abs(self.bias.astype(np.int64))).max(initial=0))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is part of the codec id, if the layer is."""
        return {f"{self.name}.{key}": getattr(self, key) for key in ("weight", "bias", "divisor")}


def constant(op: Op, number: float, dtype: type[np.generic]) -> Value:
    """A constant scalar."""
    return op.Constant(value=ir.tensor(np.asarray(number, dtype)))  # type: ignore[no-any-return]


def activation(op: Op, layer: Layer, picture: Value, zero: int = 0) -> Value:
    """Bytes [1, h / stride, w / stride, out]: the output plus ``zero``, clipped to 0..255: the ReLU here."""
    unit = constant(op, 1, np.float32)
    before = (layer.size - layer.stride + 1) // 2
    after = layer.size - layer.stride - before
    convolved = op.QLinearConv(
        op.Transpose(picture, perm=CHANNELS_FIRST),
        unit,
        constant(op, layer.zero, np.uint8),
        table(op, layer.weight, f"{layer.name}.weight"),
        table(op, (1 / layer.divisor).astype(np.float32), f"{layer.name}.scale"),
        constant(op, 0, np.int8),
        unit,
        constant(op, zero, np.uint8),
        # Never anything but a constant: with a computed bias, ONNX Runtime up to 1.26 leaves it out on x86.
        table(op, layer.bias, f"{layer.name}.bias"),
        kernel_shape=[layer.size] * 2,
        strides=[layer.stride] * 2,
        pads=[before, before, after, after],
    )
    return op.Transpose(convolved, perm=CHANNELS_LAST)  # type: ignore[no-any-return]


def quotients(op: Op, layer: Layer, picture: Value, addend: Value | None = None, steps: int = 1) -> Value:
    """The output of a 1x1 layer [1, h, w, out], not rounded, but moved by 1/2 so that what cuts it off rounds half up.

    That is (sum + bias) / divisor, plus ``addend`` float32 [out], over ``steps`` (a power of two). It is exact: every
    number here is a whole one below 2^24 over a power of two.
    """
    numbers = op.DequantizeLinear(picture, constant(op, 1, np.float32))
    scale = table(op, (1 / (layer.divisor * steps)).astype(np.float32), f"{layer.name}.scale")
    weight = table(op, layer.weight[:, :, 0, 0].T.copy(), f"{layer.name}.weight")
    offset = table(op, (layer.bias / (layer.divisor * steps) + 0.5).astype(np.float32), f"{layer.name}.offset")
    if addend is not None:
        offset = op.Add(op.Mul(addend, 1 / steps), offset)
    return op.Add(op.MatMul(numbers, op.DequantizeLinear(weight, scale, axis=1)), offset)  # type: ignore[no-any-return]


def whole_numbers(op: Op, layer: Layer, picture: Value) -> Value:
    """The output of a 1x1 layer [1, h, w, out], rounded half up: whole numbers in float32."""
    return op.Floor(quotients(op, layer, picture))  # type: ignore[no-any-return]


def rows(op: Op, layer: Layer, picture: Value, addend: Value, steps: int, highest: int) -> Value:
    """The output plus ``addend`` float32 [out], over ``steps``, rounded half up and clipped to 0..highest, as bytes."""
    ends = (constant(op, end, np.float32) for end in (0, highest))
    return op.Cast(op.Clip(quotients(op, layer, picture, addend, steps), *ends), to=UINT8)  # type: ignore[no-any-return]


def pixel_shuffle(op: Op, picture: Value, height: Value, width: Value, channels: int) -> Value:
    """[1, h, w, 4 C], ordered by row, column, channel within each position, to [1, 2 h, 2 w, C]."""
    one, two = op.Constant(value_ints=[1]), op.Constant(value_ints=[2])
    deep = op.Constant(value_ints=[channels])
    blocks = op.Reshape(picture, op.Concat(height, width, two, two, deep, axis=0))
    spread = op.Transpose(blocks, perm=[0, 2, 1, 3, 4])
    shape = op.Concat(one, op.Mul(height, 2), op.Mul(width, 2), deep, axis=0)
    return op.Reshape(spread, shape)  # type: ignore[no-any-return]


def squash(op: Op, magnitude: Value) -> Value:
    """Bytes of float32 magnitudes in sixteenths of a step: floor(min(m, 64) + min(m, 2048) / 16), 0..192.

    The shape of a logarithm from two minima.
    """
    coarse = op.Clip(magnitude, constant(op, 0, np.float32), constant(op, 2048, np.float32))
    fine = op.Clip(coarse, constant(op, 0, np.float32), constant(op, 64, np.float32))
    return op.Cast(op.Add(fine, op.Mul(coarse, 1 / 16)), to=UINT8)  # type: ignore[no-any-return]


def squashed_parts(op: Op, values: Value) -> tuple[Value, Value]:
    """Bytes of the squashed magnitude and of the squashed positive part of float32 values in sixteenths of a step."""
    return squash(op, op.Abs(values)), squash(op, op.Relu(values))
