"""Rate and distortion of transforms on real data, from ONNX files alone.

Rates are sizes of real packets, all included; distortion is the mean squared error with items scaled to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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


BATCH = 512
"""Items that are run at once, at most."""
BATCH_VALUES = 1 << 20
"""Values of those items, at most: what networks make of them inside is larger by far."""


def together(shape: Sequence[int], most: int = BATCH) -> int:
    """How many items of a shape are run at once."""
    return max(1, min(most, BATCH_VALUES // max(1, math.prod(shape))))


def batches(array: Array, size: int | None = None) -> Iterator[Array]:
    """Consecutive slices along the first axis, of so many or as many as are run `together`."""
    size = size or together(array.shape[1:])
    for start in range(0, len(array), size):
        yield array[start : start + size]


def run_batched(model: ort.InferenceSession, name: str, array: Array) -> Array:
    """The first output for all of ``array``, fed in batches as input ``name``."""
    return np.concatenate([model.run(None, {name: batch})[0] for batch in batches(array)])


def pack_feed(latents: Array, shape: tuple[int, ...], quality: int, size_axes: tuple[int, ...]) -> dict[str, Array]:
    """What a pack piece takes for latents of an input of ``shape``."""
    size = np.asarray([shape[axis] for axis in size_axes], np.int64)
    return {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": size}


@dataclass(frozen=True)
class Coder:
    """The two integer pieces as one lossless channel."""

    pack: ort.InferenceSession
    unpack: ort.InferenceSession
    size_axes: tuple[int, ...]

    def packet(self, latents: Array, item_shape: tuple[int, ...], quality: int) -> Array:
        """Latents of one packet -> uint8 [n]; ``item_shape`` is the shape of the input that they came from."""
        feed = pack_feed(latents, item_shape, quality, self.size_axes)
        return self.pack.run(None, feed)[0]  # type: ignore[no-any-return]

    def restore(self, packet: Array) -> dict[str, Array]:
        """Latents, size, symbols, status and whatever else the unpack piece says of a packet, by name."""
        names = [output.name for output in self.unpack.get_outputs()]
        return dict(zip(names, self.unpack.run(None, {"packet": packet}), strict=True))


@dataclass(frozen=True)
class Pieces:
    """The four pieces of one pair of variants."""

    analysis: ort.InferenceSession
    coder: Coder
    synthesis: ort.InferenceSession

    def latents(self, items: Array, quality: int) -> Array:
        """Float32, as the analysis transform lays them out."""
        return run_known(self.analysis, {"input": items, "quality": np.asarray(quality, np.uint8)})

    def packet(self, items: Array, quality: int) -> Array:
        """What one packet holds -> uint8 [n]."""
        return self.coder.packet(self.latents(items, quality), items.shape, quality)

    def output(self, packet: Array) -> Array:
        """What a packet decodes to."""
        return run_known(self.synthesis, self.coder.restore(packet))


def rate_points(
    pieces: Pieces,
    inputs: Sequence[Array],
    qualities: Sequence[int],
    contract: ItemContract,
    *,
    count: Callable[[Array], int] = len,
    similarity: Callable[[Array, Array], float | None] = lambda _restored, _source: None,
) -> list[RatePoint]:
    """One point for each quality, of means over all items.

    Args:
        pieces: what encodes and decodes.
        inputs: what each packet takes.
        qualities: of the points.
        contract: scales errors.
        count: items in an input.
        similarity: MS-SSIM of what was restored, None where there is none.
    """
    points = []
    for quality in qualities:
        length, error, alike = 0, 0.0, list[float]()
        for source in inputs:
            packet = pieces.packet(source, quality)
            restored = pieces.output(packet)
            length += len(packet)
            error += mse(source, restored, contract) * count(source)
            found = similarity(restored, source)
            alike += [] if found is None else [found]
        items = sum(map(count, inputs))
        points.append(RatePoint(quality, 8 * length / items, error / items, float(np.mean(alike)) if alike else None))
    return points


def rate_point(
    coder: Coder, latents: Array, items: Array, synthesis: ort.InferenceSession, contract: ItemContract, quality: int
) -> RatePoint:
    """Send ``latents`` of ``items`` through packets of as many as fit `together`, synthesise and compare."""
    length, restored = 0, []
    size = together(items.shape[1:])
    for part, source in zip(batches(latents, size), batches(items, size), strict=True):
        packet = coder.packet(part, source.shape, quality)
        length += len(packet)
        restored.append(run_known(synthesis, coder.restore(packet)))
    return RatePoint(quality, 8 * length / len(items), mse(items, np.concatenate(restored), contract))
