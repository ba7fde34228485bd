"""What a pack piece of the image family sends, read off inside it: for verification and for measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.graph.coding import COST_UNITS
from latentwire.export.graph.tap import COST, telling
from latentwire.runtime.contract import Array


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
        told = telling(onnx.load_from_string(model))
        told.graph.output.append(onnx.helper.make_tensor_value_info(COST, onnx.TensorProto.INT64, []))
        self.session = measure.session(told)

    def send(self, latents: Array, shape: tuple[int, ...], quality: int) -> Sent:
        """Latents float32 [1, L, h, w] of a picture of ``shape`` [H, W, C]."""
        feed = {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": np.asarray(shape, np.int64)}
        packet, symbols, hyper, cost = self.session.run(["packet", "symbols", "hyper_symbols", COST], feed)
        return Sent(packet, symbols[0], hyper[0], float(cost) / COST_UNITS)
