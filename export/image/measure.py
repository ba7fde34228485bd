"""Rate and distortion of an image codec on real pictures, from ONNX files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from latentwire.export.image.reference import Image
from latentwire.export.measure import RatePoint
from latentwire.runtime.contract import Array
from latentwire.train.image.distortion import similarity
from latentwire.train.image.transforms import RANGE
from latentwire.train.image.validate import SMALLEST_SIMILARITY, Point, rate_difference


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
    """One point a quality, of means over the pictures."""
    points = []
    for quality in qualities:
        sizes, errors, similarities = [], [], []
        for picture in pictures:
            packet = pieces.packet(pieces.latents(picture, quality), picture.shape, quality)
            restored = pieces.output(pieces.unpacked(packet))
            sizes.append(8 * packet.size)
            errors.append(np.square((restored.astype(np.float64) - picture) / 255).mean())
            if min(picture.shape[:2]) >= SMALLEST_SIMILARITY:
                similarities.append(float(similarity(centred(restored), centred(picture))))
        ms_ssim = float(np.mean(similarities)) if similarities else None
        points.append(RatePoint(quality, float(np.mean(sizes)), float(np.mean(errors)), ms_ssim))
    return points


def centred(picture: Image) -> Tensor:
    """uint8 [H, W, C] as training sees it: float32 [1, C, H, W] in [-0.5, 0.5]."""
    return torch.tensor(picture).permute(2, 0, 1)[None] / RANGE - 0.5


def rate_increase(base: Sequence[RatePoint], other: Sequence[RatePoint]) -> float:
    """Mean increase of the rate at equal squared error, as a share."""
    curves = [[Point(point.bits, -10 * math.log10(point.mse)) for point in curve] for curve in (base, other)]
    return rate_difference(*curves)
