"""Rate and distortion of an image codec on real pictures, from ONNX files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from latentwire.export.image.reference import Image
from latentwire.export.measure import RatePoint
from latentwire.train.image.validate import Point, rate_difference

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pieces:
    """The four pieces of one pair of variants."""

    analysis: ort.InferenceSession
    pack: ort.InferenceSession
    unpack: ort.InferenceSession
    synthesis: ort.InferenceSession

    def latents(self, picture: Image, quality: int) -> Array:
        """float32 [1, L, h, w]."""
        feed = {"input": picture, "quality": np.asarray(quality, np.uint8)}
        return self.analysis.run(["latents"], feed)[0]  # type: ignore[no-any-return]

    def packet(self, latents: Array, shape: tuple[int, ...], quality: int) -> Array:
        """uint8 [n]."""
        feed = {"latents": latents, "quality": np.asarray(quality, np.uint8), "size": np.asarray(shape, np.int64)}
        return self.pack.run(["packet"], feed)[0]  # type: ignore[no-any-return]

    def unpacked(self, packet: Array) -> dict[str, Array]:
        """latents, quality, size, symbols, hyper_symbols and status."""
        names = [output.name for output in self.unpack.get_outputs()]
        return dict(zip(names, self.unpack.run(names, {"packet": packet}), strict=True))

    def output(self, unpacked: dict[str, Array]) -> Image:
        """uint8 [H, W, C]."""
        feed = {name: unpacked[name] for name in ("latents", "quality", "size")}
        return self.synthesis.run(["output"], feed)[0]  # type: ignore[no-any-return]


def rate_points(pieces: Pieces, pictures: Sequence[Image], qualities: Sequence[int]) -> list[RatePoint]:
    """One point a quality; bits are a picture's mean, its squared error has levels scaled to [0, 1]."""
    points = []
    for quality in qualities:
        bits, error = 0, 0.0
        for picture in pictures:
            packet = pieces.packet(pieces.latents(picture, quality), picture.shape, quality)
            bits += 8 * packet.size
            restored = pieces.output(pieces.unpacked(packet))
            error += float(np.square((restored.astype(np.float64) - picture) / 255).mean())
        points.append(RatePoint(quality, bits / len(pictures), error / len(pictures)))
    return points


def rate_increase(base: Sequence[RatePoint], other: Sequence[RatePoint]) -> float:
    """Mean increase of the rate at equal squared error, as a share."""
    curves = [[Point(point.bits, -10 * math.log10(point.mse)) for point in curve] for curve in (base, other)]
    return rate_difference(*curves)
