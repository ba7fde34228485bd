"""What stands before and behind the networks in the graphs: any picture to whole blocks of colour, and back.

Pictures are padded with black, in equal parts on both sides, as CompressAI's ``compute_padding`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from latentwire.export.assemble import join
from latentwire.export.graph import FLOAT, INT64, UINT8, Op, Value, build_model, integer, value, vector
from latentwire.export.pictures import SHAPE

BLOCK = 64
"""Pixels to a multiple of which pictures are padded, each way."""


def build_prepare() -> onnx.ModelProto:
    """Input uint8 [H, W, C] -> picture uint8 [1, 3, H', W'], black around it to multiples of 64."""

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        missing = op.Sub(padded(op, op.Shape(picture, start=0, end=2)), op.Shape(picture, start=0, end=2))
        before = op.Div(missing, 2)
        none = vector(op, [0])
        amounts = op.Concat(before, none, op.Sub(missing, before), none, axis=0)
        grown = op.Pad(picture, amounts, op.CastLike(0, picture))
        return [op.Unsqueeze(op.Transpose(op.Expand(grown, vector(op, [1, 1, 3])), perm=[2, 0, 1]), [0])]

    outputs = [value("picture", UINT8, [1, 3, "padded_height", "padded_width"])]
    return build_model(trace, [value("input", UINT8, SHAPE)], outputs, "prepare")


def build_finish() -> onnx.ModelProto:
    """Pictures float32 [B, 3, H', W'] in 0..1, size int64 [3] -> output uint8 [B * H, W, C]; grey is the mean.

    Pictures of one size lie one below the other, so that one alone is what it is.
    """

    def trace(op: Op, picture: Value, size: Value) -> Sequence[Value]:
        sides, channels = op.Slice(size, [0], [2]), op.Slice(size, [2], [3])
        begin = op.Div(op.Sub(padded(op, sides), sides), 2)
        grey = op.Cast(op.Equal(channels, 1), to=INT64)
        # Both forms are made, one of them of no rows: cheaper than a choice between pictures.
        heights = [op.Mul(op.Slice(sides, [0], [1]), choice) for choice in (op.Sub(1, grey), grey)]
        width = op.Slice(sides, [1], [2])
        colour, single = (
            op.Slice(picture, begin, op.Add(begin, op.Concat(height, width, axis=0)), [2, 3]) for height in heights
        )
        last = op.Transpose(colour, perm=integer.CHANNELS_LAST)
        mean = op.ReduceMean(single, [1], keepdims=1)
        values = op.Concat(op.Reshape(last, [-1]), op.Reshape(mean, [-1]), axis=0)
        levels = op.Round(op.Mul(op.Clip(values, 0.0, 1.0), 255.0))
        stacked = op.Mul(size, op.Concat(op.Shape(picture, start=0, end=1), vector(op, [1, 1]), axis=0))
        return [op.Reshape(op.Cast(levels, to=UINT8), stacked, allowzero=1)]

    inputs = [value("picture", FLOAT, ["pictures", 3, "padded_height", "padded_width"]), value("size", INT64, [3])]
    return build_model(trace, inputs, [value("output", UINT8, SHAPE)], "finish")


def padded(op: Op, sides: Value) -> Value:
    """Lengths int64 [2], rounded up to whole blocks."""
    return op.Mul(op.Div(op.Add(sides, BLOCK - 1), BLOCK), BLOCK)  # type: ignore[no-any-return]


def analysis_piece(network: onnx.ModelProto) -> onnx.ModelProto:
    """Any picture to latents.

    Args:
        network: picture uint8 [1, 3, H, W], sides whole blocks (and quality uint8 []) -> latents.
    """
    inputs = ["input", *(entry.name for entry in network.graph.input if entry.name == "quality")]
    return join(build_prepare(), network, inputs, ["latents"])


def synthesis_piece(network: onnx.ModelProto) -> onnx.ModelProto:
    """Latents to a picture of its own size.

    Args:
        network: latents (and quality uint8 [B]) -> picture float32 [B, 3, H, W], about 0..1.
    """
    inputs = ["latents", *(entry.name for entry in network.graph.input if entry.name == "quality"), "size"]
    return join(network, build_finish(), inputs, ["output"])
