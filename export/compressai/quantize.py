"""The int8 variants of the transforms: bytes through every convolution but those whose output is sent or shown.

They are no part of the contract: either half talks to any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from latentwire.export.quantize import Quantizer

SIDE = 256
"""Calibration pictures are cut to about this size."""
Floats = npt.NDArray[np.float32]


def to_int8(analysis: onnx.ModelProto, pictures: Sequence[npt.NDArray[np.uint8]]) -> onnx.ModelProto:
    """Static QDQ of the analysis transform, calibrated on pictures uint8 [1, 3, H, W], sides multiples of 64."""
    return quantized(analysis, [{"picture": cut(picture)} for picture in pictures], ["Conv", "Relu"])


def synthesis_to_int8(synthesis: onnx.ModelProto, latents: Sequence[Floats]) -> onnx.ModelProto:
    """Static QDQ of the synthesis transform, calibrated on latents float32 [1, M, h, w]."""
    return quantized(synthesis, [{"latents": each} for each in latents], ["Conv", "DepthToSpace", "Mul", "Relu"])


def quantized(
    model: onnx.ModelProto, feeds: Sequence[dict[str, npt.NDArray[np.generic]]], operators: Sequence[str]
) -> onnx.ModelProto:
    """The model with operators on bytes, its last convolution as it was, and those of the hyper-analysis."""
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    kept = [name for name in convolutions if name.startswith("h_a.") or name in ("g_a.6", "g_s.6")]
    found = Quantizer(model, feeds, operators, float_outputs=[]).quantized(kept)
    onnx.checker.check_model(found, full_check=True)
    return found


def cut(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The first `SIDE` pixels each way."""
    return np.ascontiguousarray(picture[:, :, :SIDE, :SIDE])
