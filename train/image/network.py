"""The image codec as torch sees it: transforms, hyper-latents, probability model and gains in one module."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latentwire.train.image.prior import (
    HyperAnalysis,
    Prior,
    code_length,
    noisy,
    row_scale,
    scale_row,
    straight_through,
)
from latentwire.train.image.transforms import RANGE, Analysis, Synthesis, warm_start

GROUPS = [8, 24, 32, 64, 128]
STEP_LAW = 26.0  # step^2 = 26 / lambda for the loss bits per pixel + lambda * squared error in grey levels


class Coded(NamedTuple):
    """One pass: image [B, C, H, W] around [-0.5, 0.5] and bits [B], hyper-latents' [B] among them."""

    image: Tensor
    bits: Tensor
    hyper_bits: Tensor


def between(knots: Tensor, level: Tensor) -> Tensor:
    """Linear interpolation of knots [K, C] at levels [B] in 0..K-1: [B, C, 1, 1]."""
    low = level.floor().clamp(max=len(knots) - 2).long()
    part = (level - low)[:, None]
    return (knots[low] * (1 - part) + knots[low + 1] * part)[:, :, None, None]


class ImageNetwork(nn.Module):
    """`lambdas`: one per quality knot, rising; a level in 0..knots-1 lies between them, evenly in the logarithm."""

    lambdas: Tensor

    def __init__(self, lambdas: list[float], channels: int = 3, hyper: int = 64, width: int = 96) -> None:
        super().__init__()
        latents = sum(GROUPS)
        self.register_buffer("lambdas", torch.tensor(lambdas))
        self.analysis = Analysis(channels, latents, width)
        self.synthesis = Synthesis(channels, latents, 64)
        self.hyper_analysis = HyperAnalysis(latents, hyper, width)
        self.prior = Prior(GROUPS, hyper, width, 64, len(lambdas), with_means=128)
        self.log_gain = nn.Parameter(torch.zeros(len(lambdas), latents))

    @torch.no_grad()
    def warm_start(self, images: Tensor) -> None:
        """KLT bases, rows from the latents' deviations, gains from the step law; images [N, C, H, W] in [-0.5, 0.5]."""
        deviation = warm_start(self.analysis, self.synthesis, images)
        log_step = 0.5 * torch.log(STEP_LAW / self.lambdas)[:, None]
        self.log_gain.copy_(-log_step.expand_as(self.log_gain))
        self.prior.base.copy_(scale_row(math.log(0.55) + torch.log(deviation.clamp_min(1e-3))[None] - log_step))

    def trade_off(self, level: Tensor) -> Tensor:
        """The trade-off lambda [B] at levels [B]."""
        return torch.exp(between(torch.log(self.lambdas)[:, None], level)).flatten()

    def forward(self, image: Tensor, level: Tensor, *, exact: bool, dead_zone: float | None = None) -> Coded:
        """Training (dead_zone None): uniform noise for the rate, straight-through rounding for the picture.

        Otherwise symbols are rounded, towards zero by `dead_zone` more than half a step, as a packet's are.
        """
        training = dead_zone is None
        gain = torch.exp(between(self.log_gain, level))
        latents = self.analysis(image) * gain
        hyper = self.hyper_analysis(latents, exact=exact)
        hyper_scale = torch.nn.functional.softplus(between(self.prior.hyper_scale, level)) + 0.05
        rounded = torch.floor(hyper + 0.5)
        hyper_bits = code_length(noisy(hyper) if training else rounded, hyper_scale).sum((1, 2, 3))
        symbols = straight_through(rounded, hyper)
        bits, restored = hyper_bits, []
        stages = self.prior.predictions(symbols, between(self.prior.base, level), exact=exact)
        stage, mean, rows = next(stages)
        while True:
            value = latents[:, stage.start : stage.start + stage.channels]
            offset, scale = value - mean, row_scale(rows)
            if training:
                bits = bits + code_length(noisy(offset), scale).sum((1, 2, 3))
                decoded = (torch.round(offset) + mean).detach()
            else:
                rounded = offset.sign() * torch.floor(offset.abs() + 0.5 - dead_zone).clamp_min(0)
                rounded = torch.where(rows > 0, rounded, 0)
                bits = bits + (code_length(rounded, scale) * (rows > 0)).sum((1, 2, 3))
                decoded = rounded + mean
            restored.append(straight_through(decoded, value))
            try:
                stage, mean, rows = stages.send(decoded)
            except StopIteration:
                break
        return Coded(self.synthesis(torch.cat(restored, 1) / gain), bits, hyper_bits)


def squared_error(coded: Tensor, image: Tensor) -> Tensor:
    """Mean squared error [B] in grey levels squared."""
    return ((coded - image) ** 2).mean((1, 2, 3)) * RANGE**2
