"""Pictures of one size: what stands before and behind the network is replaced by what that size needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from latentwire.export.assemble import join
from latentwire.export.graph import FLOAT, UINT8, Op, Value, build_model, integer, value, vector
from latentwire.export.pictures import PICTURE, OnePictureForm
from latentwire.export.planes.pictures import BLOCK
from latentwire.export.static import fixed, part


@dataclass(frozen=True)
class PaddedForm(OnePictureForm):
    """One picture uint8 [H, W, 3] a packet; static ones are in colour."""

    blocks: bool = False

    def analysis(self, model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
        """With the padding of that size alone."""
        inputs = [entry.name for entry in model.graph.input if entry.name == "quality"]
        network = part(model, [PICTURE, *inputs], ["latents"])
        whole = join(static_prepare(*shape[:2]), network, ["input", *inputs], ["latents"])
        return fixed(whole, {"input": shape})

    def synthesis(self, model: onnx.ModelProto, latents: Sequence[int], shape: Sequence[int]) -> onnx.ModelProto:
        """With the cut of that size alone: it needs no ``size`` any more."""
        inputs = [entry.name for entry in model.graph.input if entry.name == "quality"]
        network = part(model, ["latents", *inputs], [PICTURE])
        whole = join(network, static_finish(*shape[:2]), ["latents", *inputs], ["output"])
        return fixed(whole, {"latents": latents, **{key: [1] for key in inputs}})


def static_prepare(height: int, width: int) -> onnx.ModelProto:
    """Input uint8 [H, W, 3] -> picture uint8 [1, 3, H', W'], black around it to multiples of 64."""

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        missing = [-height % BLOCK, -width % BLOCK]
        before = [length // 2 for length in missing]
        after = [whole - part for whole, part in zip(missing, before, strict=True)]
        if any(missing):
            picture = op.Pad(picture, vector(op, [*before, 0, *after, 0]), op.CastLike(0, picture))
        return [op.Unsqueeze(op.Transpose(picture, perm=[2, 0, 1]), [0])]

    whole = [1, 3, height + -height % BLOCK, width + -width % BLOCK]
    return build_model(trace, [value("input", UINT8, [height, width, 3])], [value(PICTURE, UINT8, whole)], "prepare")


def static_finish(height: int, width: int) -> onnx.ModelProto:
    """Picture float32 [1, 3, H', W'] in 0..1 -> output uint8 [H, W, 3]."""

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        top, left = -height % BLOCK // 2, -width % BLOCK // 2
        cut = op.Slice(picture, [top, left], [top + height, left + width], [2, 3])
        levels = op.Round(op.Mul(op.Clip(cut, 0.0, 1.0), 255.0))
        return [op.Cast(op.Squeeze(op.Transpose(levels, perm=integer.CHANNELS_LAST), [0]), to=UINT8)]

    whole = [1, 3, height + -height % BLOCK, width + -width % BLOCK]
    return build_model(trace, [value(PICTURE, FLOAT, whole)], [value("output", UINT8, [height, width, 3])], "finish")
