"""The image codec as torch sees it: transforms, hyper-latents, probability model and gains in one module."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latentwire.train.image.integer import straight_through
from latentwire.train.image.prior import HyperAnalysis, Prior, code_length, noisy, rounded_hyper, row_scale, scale_row
from latentwire.train.image.settings import Shape
from latentwire.train.image.transforms import Analysis, Synthesis, arithmetic, between, warm_start

GROUPS = [8, 24, 32, 64, 128]
DEAD_ZONE = 0.08
"""What export fits for each row lies around it; better than none by several percent of the rate."""
STEP_LAW = 26.0  # step^2 = 26 / lambda for the loss bits per pixel + lambda * squared error in grey levels


class Coded(NamedTuple):
    """One pass: image [B, C, H, W] around [-0.5, 0.5] and bits [B], hyper-latents' [B] among them."""

    image: Tensor
    bits: Tensor
    hyper_bits: Tensor


class ImageNetwork(nn.Module):
    """`lambdas`: one per quality knot, rising; a level in 0..knots-1 lies between them, evenly in the logarithm."""

    lambdas: Tensor

    def __init__(
        self, lambdas: list[float], channels: int = 3, hyper: int = 64, width: int = 32, shape: Shape = "lapped"
    ) -> None:
        super().__init__()
        latents = sum(GROUPS)
        self.register_buffer("lambdas", torch.tensor(lambdas))
        self.analysis = Analysis(channels, latents, width, len(lambdas), shape)
        self.synthesis = Synthesis(channels, latents, 64, len(lambdas), shape)
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

    def scaled_latents(self, image: Tensor, level: Tensor, *, coarse: bool = False) -> tuple[Tensor, Tensor]:
        """Latents [B, L, h, w] in quantization steps, and how many steps [B, L, 1, 1] a grey level is."""
        gain = torch.exp(between(self.log_gain, level))
        with arithmetic(image.device, coarse=coarse):
            return self.analysis(image, level).float() * gain, gain

    @torch.no_grad()
    def rescale(self, factor: Tensor) -> None:
        """Make each channel's step smaller by a factor [L], at every level; the probability model expects it."""
        self.log_gain.add_(torch.log(factor))
        self.hyper_analysis.rescale(factor)
        self.prior.rescale(factor)

    def forward(
        self, image: Tensor, level: Tensor, *, exact: bool, dead_zone: float | None = None, coarse: bool = False
    ) -> Coded:
        """Code images at levels [B].

        Args:
            image: float32 [B, C, H, W] in [-0.5, 0.5], sides multiples of 64.
            level: float32 [B], 0 .. knots - 1.
            exact: compute the probability model in integers, as it is exported.
            dead_zone: how much of a step symbols are rounded towards zero beyond the half, as a packet's are. None is
                for training: uniform noise for the rate, straight-through rounding with `DEAD_ZONE` for the picture.
            coarse: compute the transforms in bfloat16, which is enough for gradients.
        """
        training = dead_zone is None
        latents, gain = self.scaled_latents(image, level, coarse=coarse)
        hyper = self.hyper_analysis(latents, exact=exact)
        hyper_scale = torch.nn.functional.softplus(between(self.prior.hyper_scale, level)) + 0.05
        rounded = rounded_hyper(hyper)
        hyper_bits = code_length(noisy(hyper) if training else rounded, hyper_scale).sum((1, 2, 3))
        symbols = straight_through(rounded, hyper)
        bits, restored = hyper_bits, []
        stages = self.prior.predictions(symbols, between(self.prior.base, level), exact=exact)
        stage, mean, rows = next(stages)
        while True:
            value = latents[:, stage.start : stage.start + stage.channels]
            offset, scale = value - mean, row_scale(rows)
            rounded = dead_zoned(offset.detach(), DEAD_ZONE if dead_zone is None else dead_zone)
            if training:
                bits = bits + code_length(noisy(offset), scale).sum((1, 2, 3))
            else:
                rounded = torch.where(rows > 0, rounded, 0)
                bits = bits + (code_length(rounded, scale) * (rows > 0)).sum((1, 2, 3))
            decoded = rounded + mean.detach()
            restored.append(straight_through(decoded, value))
            try:
                stage, mean, rows = stages.send(decoded)
            except StopIteration:
                break
        with arithmetic(image.device, coarse=coarse):
            picture = self.synthesis(torch.cat(restored, 1) / gain, level).float()
        return Coded(picture, bits, hyper_bits)


def dead_zoned(offset: Tensor, dead_zone: float) -> Tensor:
    """Rounded, towards zero by `dead_zone` more than half a step."""
    return offset.sign() * torch.floor(offset.abs() + (0.5 - dead_zone)).clamp_min(0)
