"""The int8 analysis transform: bytes in and bytes through every layer but those whose output is the latents.

The synthesis transform runs on the server, where its precision is worth more than its speed: it has no int8 variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from latentwire.export.errors import QuantizationError
from latentwire.export.image.reference import Picture
from latentwire.export.quantize import Quantizer
from latentwire.runtime.contract import QUALITIES

SIDE = 256
"""Calibration pictures are cut to this size."""


def to_int8(model: onnx.ModelProto, pictures: Sequence[Picture]) -> onnx.ModelProto:
    """Static QDQ of products and convolutions, calibrated on pictures uint8 [H, W, 3]; sums of products stay float.

    Raises:
        QuantizationError: the quantizer did not find the graph as this module expects it.
    """
    quantized = Quantizer(model, feeds(pictures), ["Conv", "MatMul", "Relu"], float_outputs=["MatMul"]).quantized()
    feed_bytes(quantized)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def feeds(pictures: Sequence[Picture]) -> Iterator[dict[str, Picture]]:
    """Pictures, each at another quality; the last one holds every level, so that a byte stays the byte it is."""
    cut = [np.ascontiguousarray(blocks(picture)) for picture in pictures]
    extremes = np.zeros((64, 64, 3), np.uint8)
    extremes[::2] = 255
    qualities = np.linspace(0, QUALITIES - 1, len(cut) + 1).astype(np.uint8)
    for picture, quality in zip((*cut, extremes), qualities, strict=True):
        yield {"picture": picture, "quality": np.asarray(quality)}


def blocks(picture: Picture) -> Picture:
    """The middle of a picture, at most 256 pixels each way, its sides multiples of 64."""
    sides = [min(SIDE, length // 64 * 64) for length in picture.shape[:2]]
    if 0 in sides:
        raise QuantizationError(f"calibration needs pictures of at least 64 x 64, found {picture.shape[:2]}")
    top, left = ((length - side) // 2 for length, side in zip(picture.shape[:2], sides, strict=True))
    return picture[top : top + sides[0], left : left + sides[1]]


def feed_bytes(model: onnx.ModelProto) -> None:
    """Give the picture's own bytes to the products: (byte - 128) / 255 quantized at 1 / 255 around 128 is that byte."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    found = 0
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        chain = upstream(node, makers, ("Div", "Sub", "Cast"))
        if chain is None:
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        if abs(float(scale) * 255 - 1) > 1e-6 or int(zero) != 128:
            raise QuantizationError(f"expected bytes to be quantized at 1/255 around 128, found {scale} around {zero}")
        redirect(graph, node.output[0], chain[-1].input[0])
        for gone in (node, *chain):
            graph.node.remove(gone)
        found += 1
    if found != 2:
        raise QuantizationError(f"expected two products that take the picture's bytes, found {found}")


def upstream(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], kinds: Sequence[str]
) -> list[onnx.NodeProto] | None:
    """The nodes before ``node`` along first inputs, if they are of those kinds."""
    chain = []
    for kind in kinds:
        before = makers.get(node.input[0])
        if before is None or before.op_type != kind:
            return None
        chain.append(before)
        node = before
    return chain


def redirect(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let everything that reads ``old`` read ``new``."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
