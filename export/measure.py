"""Rate and distortion of transforms on real data, from ONNX files alone.

Rates are sizes of real packets of up to 512 items, all included; distortion is the mean squared error with items
scaled to [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from latentwire.runtime.contract import Array, ItemContract


@dataclass(frozen=True)
class RatePoint:
    """One point of a rate-distortion curve."""

    quality: int
    bits: float
    """Mean bits an item, header and checksum included."""
    mse: float
    """Mean squared error, items scaled to [0, 1]."""
    ms_ssim: float | None = None
    """Mean MS-SSIM of the pictures that are large enough for it; none are where items are no pictures."""


def session(
    model: onnx.ModelProto | bytes, threads: int = 1, level: ort.GraphOptimizationLevel | None = None
) -> ort.InferenceSession:
    """A CPU session for measuring, with explicit threads and optimisation level."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if level is not None:
        options.graph_optimization_level = level
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_known(model: ort.InferenceSession, known: Mapping[str, Array]) -> Array:
    """The first output, of those values that the model has inputs for."""
    return model.run(None, {entry.name: known[entry.name] for entry in model.get_inputs()})[0]  # type: ignore[no-any-return]


def mse(items: Array, restored: Array, contract: ItemContract) -> float:
    """Mean squared error with the contract's range scaled to [0, 1]."""
    low, high = contract.range
    difference = (items.astype(np.float64) - restored.astype(np.float64)) / (high - low)
    return float(np.square(difference).mean())


@dataclass(frozen=True)
class Coder:
    """The two integer pieces as one lossless channel."""

    pack: ort.InferenceSession
    unpack: ort.InferenceSession
    size_axes: tuple[int, ...]

    def packet(self, latents: Array, item_shape: tuple[int, ...], quality: int) -> Array:
        """Latents of one packet -> uint8 [n]; ``item_shape`` is the shape of the input that they came from."""
        size = np.asarray([item_shape[axis] for axis in self.size_axes], np.int64)
        feed = {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": size}
        return self.pack.run(None, feed)[0]  # type: ignore[no-any-return]

    def restore(self, packet: Array) -> dict[str, Array]:
        """latents, size, symbols and status of a packet."""
        names = [output.name for output in self.unpack.get_outputs()]
        return dict(zip(names, self.unpack.run(None, {"packet": packet}), strict=True))


BATCH = 512


def batches(array: Array, size: int = BATCH) -> Iterator[Array]:
    """Consecutive slices along the first axis."""
    for start in range(0, len(array), size):
        yield array[start : start + size]


def run_batched(model: ort.InferenceSession, name: str, array: Array) -> Array:
    """The first output for all of ``array``, fed in batches as input ``name``."""
    return np.concatenate([model.run(None, {name: batch})[0] for batch in batches(array)])


def rate_point(
    coder: Coder, latents: Array, items: Array, synthesis: ort.InferenceSession, contract: ItemContract, quality: int
) -> RatePoint:
    """Send ``latents`` of ``items`` through real packets at one quality, synthesise and compare."""
    length, restored = 0, []
    for part, source in zip(batches(latents), batches(items), strict=True):
        packet = coder.packet(part, source.shape, quality)
        length += len(packet)
        restored.append(synthesis.run(None, {"latents": coder.restore(packet)["latents"]})[0])
    return RatePoint(quality, 8 * length / len(items), mse(items, np.concatenate(restored), contract))
