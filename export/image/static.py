"""Pictures of one size: what stands before and behind the network is replaced by what that size needs.

Nothing at all is left of it where both sides are multiples of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from latentwire.export.assemble import join
from latentwire.export.graph import FLOAT, UINT8, Op, Value, build_model, value, vector
from latentwire.export.image.tables import HYPER_PATCH
from latentwire.export.pictures import PICTURE, OnePictureForm
from latentwire.export.static import fixed, part


@dataclass(frozen=True)
class PictureForm(OnePictureForm):
    """One picture uint8 [H, W, 3] a packet; static ones are in colour."""

    blocks: bool = True

    def analysis(self, model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
        """With the padding of that size alone."""
        network = part(model, [PICTURE, "quality"], ["latents"])
        model = join(build_static_prepare(*shape[:2]), network, ["input", "quality"], ["latents"])
        return fixed(model, {"input": shape})

    def synthesis(self, model: onnx.ModelProto, latents: Sequence[int], shape: Sequence[int]) -> onnx.ModelProto:
        """With the cut of that size alone: it needs no ``size`` any more."""
        network = part(model, ["latents", "quality"], [PICTURE])
        model = join(network, build_static_finish(*shape[:2]), ["latents", "quality"], ["output"])
        return fixed(model, {"latents": latents, "quality": [1]})


def build_static_prepare(height: int, width: int) -> onnx.ModelProto:
    """Input uint8 [H, W, 3] -> picture uint8 [H', W', 3], its edges repeated to multiples of 64."""
    padded = [blocks(height), blocks(width), 3]

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        missing = [padded[0] - height, padded[1] - width]
        return [op.Pad(picture, vector(op, [0, 0, 0, *missing, 0]), mode="edge") if any(missing) else picture]

    inputs, outputs = [value("input", UINT8, [height, width, 3])], [value(PICTURE, UINT8, padded)]
    return build_model(trace, inputs, outputs, "prepare")


def build_static_finish(height: int, width: int) -> onnx.ModelProto:
    """Picture float32 [1, H', W', 3] in 0..255 -> output uint8 [H, W, 3]."""
    padded = [1, blocks(height), blocks(width), 3]

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        cut = op.Slice(picture, [0, 0], [height, width], [1, 2]) if padded != [1, height, width, 3] else picture
        return [op.Cast(op.Round(op.Squeeze(cut, [0])), to=UINT8)]

    inputs, outputs = [value(PICTURE, FLOAT, padded)], [value("output", UINT8, [height, width, 3])]
    return build_model(trace, inputs, outputs, "finish")


def blocks(length: int) -> int:
    """The next multiple of 64."""
    return -(-length // HYPER_PATCH) * HYPER_PATCH
