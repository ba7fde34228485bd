"""Layers of the probability model: trained in torch, run as integers on every machine.

Every activation is a multiple of a power of two that a byte holds, every weight a multiple of a power of two of its
own output channel with at most 6 bits of magnitude. With `exact` set, the float arithmetic here gives, bit for bit,
what the integer arithmetic of the exported graph gives: all sums stay below 2^24 units, which float32 holds exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT_LIMIT = 63  # bytes times weights of more than 6 bits saturate in pairs on x86 without VNNI
SIGNED = 32  # leading latents whose sign the hyper-analysis sees
UNIT = 16  # steps of an activation, of a mean and of a context feature per 1.0
BYTE = 255


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return soft + (hard - soft).detach()


def round_half_up(value: Tensor) -> Tensor:
    """floor(value + 1/2), with the gradient of the identity."""
    return straight_through(torch.floor(value + 0.5), value)


def round_half_even(value: Tensor) -> Tensor:
    """The nearest integer, of two the even one, as the graph's convolutions requantize; the identity's gradient."""
    return straight_through(torch.round(value), value)


def to_grid(value: Tensor, unit: float | Tensor) -> Tensor:
    """The nearest multiple of 1 / unit."""
    return round_half_up(value * unit) / unit


def squash(magnitude: Tensor, *, exact: bool) -> Tensor:
    """A logarithm's shape from two minima, 0..12 for magnitudes in quantization steps; one byte at 1/16 steps."""
    size = magnitude.clamp(max=4) + magnitude.clamp(max=128) / UNIT
    return straight_through(torch.floor(size * UNIT) / UNIT, size) if exact else size


def context_features(decoded: Tensor, *, exact: bool) -> Tensor:
    """Squashed magnitude and squashed positive part of decoded latents: [B, C, H, W] to [B, 2 C, H, W]."""
    size = squash(decoded.abs(), exact=exact)
    return torch.cat([size, size * (decoded > 0)], 1)


def hyper_features(latents: Tensor, *, exact: bool) -> Tensor:
    """Squashed magnitude of all latents and squashed positive part of the leading ones: [B, C + 32, H, W]."""
    size = squash(latents.abs(), exact=exact)
    return torch.cat([size, size[:, :SIGNED] * (latents[:, :SIGNED] > 0)], 1)


class IntegerWeights(NamedTuple):
    """What the graph holds of one layer.

    weight: int8 values [out, in, k, k] within +-63; bias: int32 [out]; shift: the power of two [out] by which the
    accumulator is divided, so that the result counts the layer's output units.
    """

    weight: Tensor
    bias: Tensor
    shift: Tensor


class IntegerConv(nn.Conv2d):
    """A convolution of bytes with small integer weights, zero padding, sizes divided by the stride.

    `units`: output steps per 1.0, one number or one per output channel; `source`: input steps per 1.0;
    `activation`: round to steps and clip to what a byte holds (0..255 of them), which is this network's ReLU. Without
    it the sums come out as they are, for others to round.
    """

    bias: Tensor  # this layer always has one
    units: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 1,
        *,
        stride: int = 1,
        source: int = UNIT,
        units: int | Tensor = UNIT,
        activation: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, size, stride, padding=(size - stride + 1) // 2)
        self.source, self.activation = source, activation
        self.register_buffer(
            "units", torch.as_tensor(units, dtype=torch.float32).expand(outputs).clone(), persistent=False
        )

    def scales(self) -> Tensor:
        """The power of two [out] at which each channel's weights become integers of at most 6 bits."""
        largest = self.weight.detach().abs().amax((1, 2, 3)).clamp_min(1e-6)
        finest = torch.floor(torch.log2(WEIGHT_LIMIT / largest)).clamp(max=12)
        return torch.exp2(torch.maximum(finest, torch.log2(self.units / self.source)))

    def on_grid(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as the numbers that the graph's integers stand for, with the gradient of the identity."""
        scale = self.scales()
        column = scale[:, None, None, None]
        weight = round_half_up(self.weight * column).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) / column
        return weight, round_half_up(self.bias * scale * self.source) / (scale * self.source)

    def forward(self, value: Tensor, *, exact: bool = False) -> Tensor:
        """[B, in, H, W] multiples of 1 / `source` to [B, out, H / stride, W / stride]."""
        weight, bias = self.on_grid() if exact else (self.weight, self.bias)
        out: Tensor = F.conv2d(value, weight, bias, self.stride, self.padding)
        if not self.activation:
            return out
        return (round_half_even(out * UNIT) / UNIT if exact else out).clamp(0, BYTE / UNIT)

    @torch.no_grad()
    def integers(self) -> IntegerWeights:
        """The layer as the exported graph holds it."""
        scale = self.scales()
        weight, bias = self.on_grid()
        return IntegerWeights(
            (weight * scale[:, None, None, None]).to(torch.int8),
            (bias * scale * self.source).to(torch.int32),
            (scale * self.source / self.units).to(torch.int64),
        )
