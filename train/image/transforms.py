"""Analysis and synthesis transform of the image family: a KLT path and a learned residual beside it."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16  # pixels per latent position, each way
RANGE = 255.0  # latents are in units of one grey level


def between(knots: Tensor, level: Tensor) -> Tensor:
    """Linear interpolation of knots [K, C] at levels [B] in 0..K-1: [B, C, 1, 1]."""
    low = level.floor().clamp(max=len(knots) - 2).long()
    part = (level - low)[:, None]
    return (knots[low] * (1 - part) + knots[low + 1] * part)[:, :, None, None]


def arithmetic(device: torch.device, *, coarse: bool) -> contextlib.AbstractContextManager[object]:
    """In which convolutions and products are computed in bfloat16 where `coarse`, in float32 otherwise."""
    if device.type == "meta":  # shapes without numbers have no arithmetic
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=coarse)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and bias zero: a residual that starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Depthwise 5x5, then two pointwise layers with a ReLU between them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = zeroed(nn.Conv2d(2 * channels, channels, 1))

    def forward(self, value: Tensor) -> Tensor:
        """[B, channels, H, W] to the same shape."""
        # bfloat16 slows this one convolution down, as torch computes its gradient on CPUs.
        with arithmetic(value.device, coarse=False):
            seen = self.spatial(value.to(self.spatial.weight.dtype))
        change: Tensor = self.project(F.relu(self.expand(seen)))
        return value + change


class Analysis(nn.Module):
    """Pixels [B, C, H, W] in [-0.5, 0.5] to latents [B, L, H/16, W/16] in grey levels; H and W multiples of 16.

    `level_bias` [knots, width] tells the residual network which quality is asked for.
    """

    def __init__(self, channels: int, latents: int, width: int, knots: int) -> None:
        super().__init__()
        self.klt = nn.Conv2d(channels, latents, PATCH, PATCH, bias=False)
        self.first = nn.Conv2d(channels, width, 8, 8)
        self.level_bias = nn.Parameter(torch.zeros(knots, width))
        self.net = nn.Sequential(
            Block(width),
            nn.Conv2d(width, 2 * width, 2, 2),
            Block(2 * width),
            Block(2 * width),
            zeroed(nn.Conv2d(2 * width, latents, 1)),
        )

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Latents of images at levels [B]; shapes as above."""
        features = self.first(image) + between(self.level_bias, level)
        latents: Tensor = self.klt(image) * RANGE + self.net(features) * (RANGE / 4)
        return latents


class Synthesis(nn.Module):
    """Latents [B, L, h, w] in grey levels to pixels [B, C, 16 h, 16 w] around [-0.5, 0.5].

    `level_bias` [knots, 3 width] tells the residual network how coarsely the latents were quantized. Convolutions and
    DepthToSpace only: no transposed convolution, which runs slowly as int8 and on many accelerators.
    """

    def __init__(self, channels: int, latents: int, width: int, knots: int) -> None:
        super().__init__()
        self.klt = nn.Conv2d(latents, channels * PATCH**2, 1, bias=False)
        wide, fine = 3 * width, 2 * width
        self.first = nn.Conv2d(latents, wide, 1)
        self.level_bias = nn.Parameter(torch.zeros(knots, wide))
        self.net = nn.Sequential(
            *(Block(wide) for _ in range(6)),
            nn.Conv2d(wide, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(Block(fine) for _ in range(4)),
            nn.Conv2d(fine, 4 * width, 1),
            nn.PixelShuffle(2),
            *(Block(width) for _ in range(2)),
            zeroed(nn.Conv2d(width, channels * 16, 3, padding=1)),
            nn.PixelShuffle(4),
        )

    def forward(self, latents: Tensor, level: Tensor) -> Tensor:
        """The images of latents that were quantized at levels [B]; shapes as above."""
        scaled = latents / RANGE
        features = self.first(scaled) + between(self.level_bias, level)
        image: Tensor = F.pixel_shuffle(self.klt(scaled), PATCH) + self.net(features)
        return image


@torch.no_grad()
def warm_start(analysis: Analysis, synthesis: Synthesis, images: Tensor) -> Tensor:
    """Set both KLT paths from images [N, C, H, W] in [-0.5, 0.5]; returns latents' deviations [L] in grey levels."""
    channels, latents = images.shape[1], analysis.klt.out_channels
    patches = (
        images.unfold(2, PATCH, PATCH)
        .unfold(3, PATCH, PATCH)
        .permute(0, 2, 3, 1, 4, 5)
        .reshape(-1, channels * PATCH**2)
    )
    energy, basis = torch.linalg.eigh((patches.T @ patches / len(patches)).double())
    order = torch.argsort(energy, descending=True)[:latents]
    kernel = basis[:, order].float().T
    analysis.klt.weight.copy_(kernel.reshape(latents, channels, PATCH, PATCH))
    synthesis.klt.weight.copy_(kernel.T.reshape(channels * PATCH**2, latents, 1, 1))
    deviation: Tensor = RANGE * energy[order].clamp_min(0).float().sqrt()
    return deviation
