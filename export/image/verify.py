"""Parity of an image bundle, on real pictures: one in each packet, in colour and grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from latentwire.export import measure
from latentwire.export.image.reference import Picture, latents_of
from latentwire.export.image.transforms import AnalysisTransform, SynthesisTransform
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.pictures import OnePictureVerifier
from latentwire.export.verify import Report
from latentwire.train.image import RANGE, SMALLEST_SIMILARITY, ImageNetwork, Point, rate_difference, similarity

RATE_LIMIT = 0.01
"""Another precision of the analysis transform may cost this share of the rate at equal error."""
LATENT_LIMIT = 0.02
"""Largest difference of a latent between torch and ONNX fp32, in grey levels (quantization steps begin at 8)."""
LEVEL_LIMIT = 1.0
"""Largest difference of an output level between torch and ONNX fp32."""


class PictureVerifier(OnePictureVerifier):
    """The checks of one bundle on pictures uint8 [H, W, 3]."""

    reference_type: ClassVar[type] = ImageNetwork

    def curve(self, pieces: Pieces, qualities: tuple[int, ...]) -> list[RatePoint]:
        """With MS-SSIM of the pictures that are large enough for it."""
        return measure.rate_points(
            pieces, self.packets(), qualities, self.subject.manifest.input, count=lambda _: 1, similarity=ms_ssim
        )

    def judge(self, report: Report, name: str, base: list[RatePoint], found: list[RatePoint]) -> None:
        """Rate at equal squared error, over the whole range."""
        report.add(f"{name}: rate increase at equal error", rate_increase(base, found), RATE_LIMIT)

    def compare(self, report: Report, reference: ImageNetwork) -> None:
        """Latents, and the picture that decoded latents give."""
        pieces, analysis, synthesis = self.subject.pieces(), AnalysisTransform(reference), SynthesisTransform(reference)
        latent_gap = level_gap = trained_gap = 0.0
        with torch.no_grad():
            for picture, quality in zip(self.packets()[:4], (255, 0, 90, 180), strict=False):
                found = pieces.latents(picture, quality)
                height, width = picture.shape[:2]
                whole = np.pad(picture, [(0, -height % 64), (0, -width % 64), (0, 0)], "edge")
                wanted = analysis(torch.tensor(whole), torch.tensor(quality, dtype=torch.uint8))
                trained_gap = max(trained_gap, float((latents_of(reference, picture, quality) - wanted).abs().max()))
                latent_gap = max(latent_gap, float(np.abs(found - wanted.numpy()).max()))
                unpacked = pieces.coder.restore(pieces.coder.packet(found, picture.shape, quality))
                restored = synthesis(torch.tensor(unpacked["latents"]), torch.tensor(unpacked["quality"]))
                levels = torch.round(restored)[0, :height, :width].numpy()
                output = measure.run_known(pieces.synthesis, unpacked)
                level_gap = max(level_gap, float(np.abs(levels - output).max()))
        trained = "torch as trained against torch as exported: largest difference of a latent"
        report.add(trained, trained_gap, LATENT_LIMIT)
        latent = "torch against ONNX fp32: largest difference of a latent, in grey levels"
        report.add(latent, latent_gap, LATENT_LIMIT)
        report.add("torch against ONNX fp32: largest difference of an output level", level_gap, LEVEL_LIMIT)


def ms_ssim(restored: Picture, picture: Picture) -> float | None:
    """MS-SSIM of two pictures uint8 [H, W, C]; None where they are too small for it."""
    if min(picture.shape[:2]) < SMALLEST_SIMILARITY:
        return None
    return float(similarity(*(torch.tensor(p).permute(2, 0, 1)[None] / RANGE - 0.5 for p in (restored, picture))))


def rate_increase(base: Sequence[RatePoint], other: Sequence[RatePoint]) -> float:
    """Mean increase of the rate at equal squared error, as a share."""
    curves = [[Point(point.bits, -10 * math.log10(point.mse)) for point in curve] for curve in (base, other)]
    return rate_difference(*curves)
