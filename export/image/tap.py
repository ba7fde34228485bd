"""What a pack piece sends, read off inside it: for verification and for measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.utils import Extractor

from latentwire.export import measure
from latentwire.export.graph.builder import duplicate
from latentwire.export.image.pack import CODED, COST, SENT
from latentwire.export.tables import COST_UNITS

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sent:
    """One packet uint8 [n], its symbols int32 [h, w, L] and [h / 4, w / 4, Z], and their ideal bits."""

    packet: Array
    symbols: Array
    hyper_symbols: Array
    ideal_bits: float


class Tap:
    """A pack piece that also tells what it codes."""

    def __init__(self, model: bytes) -> None:
        """Takes the bytes of the piece's ONNX file."""
        graph = duplicate(onnx.load_from_string(model))
        made = {name for node in graph.graph.node for name in node.output}
        self.stages = sum(name.startswith(SENT) for name in made)
        kinds = {SENT: onnx.TensorProto.INT32, CODED: onnx.TensorProto.BOOL}
        for prefix, kind in kinds.items():
            for stage in range(self.stages):
                graph.graph.output.append(onnx.helper.make_tensor_value_info(f"{prefix}{stage}", kind, None))
        graph.graph.output.append(onnx.helper.make_tensor_value_info(COST, onnx.TensorProto.INT64, None))
        self.session = measure.session(graph)

    def send(self, latents: Array, shape: tuple[int, ...], quality: int) -> Sent:
        """Latents float32 [1, L, h, w] of a picture of ``shape`` [H, W, C]."""
        feed = {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": np.asarray(shape, np.int64)}
        names = [f"{prefix}{stage}" for prefix in (CODED, SENT) for stage in range(self.stages)]
        packet, cost, *found = self.session.run(["packet", COST, *names], feed)
        masks, values = found[: self.stages], found[self.stages :]
        hyper, *groups = [spread(*pair) for pair in zip(masks, values, strict=True)]
        return Sent(packet, np.concatenate(groups, -1)[0], hyper[0], float(cost) / COST_UNITS)


def estimating(model: bytes) -> onnx.ModelProto:
    """The part of a pack piece that says what a packet ideally costs: everything in front of the entropy coder."""
    whole = onnx.load_from_string(model)
    whole.graph.output.append(onnx.helper.make_tensor_value_info(COST, onnx.TensorProto.INT64, []))
    return Extractor(whole).extract_model([entry.name for entry in whole.graph.input], [COST])


def spread(coded: Array, values: Array) -> Array:
    """Values int32 [n] at the n places of a mask, 0 elsewhere."""
    grid = np.zeros(coded.shape, np.int32)
    grid[coded] = values
    return grid
