"""What stands before and behind the networks in the graphs: any picture to whole blocks of colour, and back."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from latentwire.export.graph import FLOAT, INT64, UINT8, Op, Value, build_model, value, vector
from latentwire.export.image.tables import HYPER_PATCH
from latentwire.export.pictures import SHAPE


def build_prepare() -> onnx.ModelProto:
    """Input uint8 [H, W, C] -> picture uint8 [H', W', 3], its edges repeated to multiples of 64."""

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        sides = op.Shape(picture, start=0, end=2)
        missing = op.Sub(op.Mul(op.Div(op.Add(sides, HYPER_PATCH - 1), HYPER_PATCH), HYPER_PATCH), sides)
        # Amounts for every axis: OpenVINO does not take fewer.
        grown = op.Pad(picture, op.Concat(vector(op, [0, 0, 0]), missing, vector(op, [0]), axis=0), mode="edge")
        return [op.Expand(grown, vector(op, [1, 1, 3]))]

    outputs = [value("picture", UINT8, ["padded_height", "padded_width", 3])]
    return build_model(trace, [value("input", UINT8, SHAPE)], outputs, "prepare")


def build_finish() -> onnx.ModelProto:
    """Pictures float32 [B, H', W', 3] in 0..255, size int64 [3] -> output uint8 [B * H, W, C]; grey is the mean.

    Pictures of one size lie one below the other, so that one alone is what it is.
    """

    def trace(op: Op, picture: Value, size: Value) -> Sequence[Value]:
        height, width, channels = (op.Slice(size, [i], [i + 1]) for i in range(3))
        grey = op.Cast(op.Equal(channels, 1), to=INT64)
        # Both forms are made, one of them of no rows: cheaper than a choice between pictures.
        colour = op.Slice(picture, [0, 0], op.Concat(op.Mul(height, op.Sub(1, grey)), width, axis=0), [1, 2])
        single = op.Slice(picture, [0, 0], op.Concat(op.Mul(height, grey), width, axis=0), [1, 2])
        mean = op.ReduceMean(single, [3], keepdims=1)
        values = op.Concat(op.Reshape(colour, [-1]), op.Reshape(mean, [-1]), axis=0)
        stacked = op.Mul(size, op.Concat(op.Shape(picture, start=0, end=1), vector(op, [1, 1]), axis=0))
        return [op.Reshape(op.Cast(op.Round(values), to=UINT8), stacked, allowzero=1)]

    inputs = [value("picture", FLOAT, ["pictures", "padded_height", "padded_width", 3]), value("size", INT64, [3])]
    return build_model(trace, inputs, [value("output", UINT8, SHAPE)], "finish")
