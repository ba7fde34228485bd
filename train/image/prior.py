"""Probability model of the image family: a mean-scale hyperprior with channel-wise context, exact in integers.

What selects a probability is computed from integer symbols by integer layers (`integer.py`). A latent's mean is a
multiple of 1/16 of its quantization step; its scale is one of 64 rows, evenly spaced in the logarithm. Row 0 says that
the symbol is zero for certain: such elements are not coded at all.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentwire.train.image.integer import (
    SIGNED,
    UNIT,
    IntegerConv,
    context_features,
    hyper_features,
    round_half_up,
    straight_through,
    to_grid,
)
from latentwire.train.image.transforms import zeroed

ROWS = 64
FINEST = 0.06  # logistic scale of row 0, in quantization steps
ROWS_PER_NAT = 8


def code_length(value: Tensor, scale: Tensor) -> Tensor:
    """Bits of a unit bin around `value` under a logistic distribution with mean 0, elementwise."""
    size = value.abs()
    inside = torch.sigmoid((0.5 - size) / scale) - torch.sigmoid((-0.5 - size) / scale)
    return -torch.log2(inside.clamp_min(1e-9))


class HyperAnalysis(nn.Module):
    """Latents [B, L, h, w] in quantization steps to hyper-latents [B, Z, h/4, w/4]; h and w multiples of 4.

    `rounded_hyper` makes symbols of them.

    It decides only what is sent, so it need not be exact; being made of integer layers too, it runs as fast as they do
    and gives the same packet on every machine.
    """

    def __init__(self, latents: int, hyper: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            IntegerConv(latents + min(SIGNED, latents), width, 1),
            nn.Identity(),
            IntegerConv(width, width, 4, stride=2),
            nn.Identity(),
            IntegerConv(width, hyper, 4, stride=2, units=1, activation=False),
        )

    @torch.no_grad()
    def rescale(self, factor: Tensor) -> None:
        """Expect latents that are larger by a factor [L]."""
        first = next(self.net.children())
        assert isinstance(first, IntegerConv)
        first.weight /= torch.cat([factor, factor[:SIGNED]])[:, None, None]

    def forward(self, latents: Tensor, *, exact: bool) -> Tensor:
        """Hyper-latents, not yet rounded."""
        value = hyper_features(latents, exact=exact)
        for layer in self.net.children():
            if isinstance(layer, IntegerConv):
                value = layer(value, exact=exact)
        return value


class Stage(nn.Module):
    """Means and rows of one group of channels from the hyper features and the groups before it.

    `means`: how many of the group's `channels` have a predicted mean (all or none); the others' mean is 0.
    """

    def __init__(self, start: int, channels: int, means: int, features: int, context: int) -> None:
        super().__init__()
        self.start, self.channels, self.means = start, channels, means
        self.context = IntegerConv(2 * start, context, 3 if start <= 32 else 1) if start else None
        self.hidden = IntegerConv(features + (context if start else 0), features)
        units = torch.tensor([UNIT] * means + [UNIT * ROWS_PER_NAT] * channels)
        head = IntegerConv(2 * features, means + channels, units=units, activation=False)
        zeroed(head)
        self.head = head

    @torch.no_grad()
    def rescale(self, factor: Tensor) -> None:
        """Expect latents, and predict means, that are larger by a factor [L]."""
        if self.context is not None:
            self.context.weight /= factor[: self.start].repeat(2)[:, None, None]
        own = factor[self.start : self.start + self.means]
        self.head.weight[: self.means] *= own[:, None, None, None]
        self.head.bias[: self.means] *= own

    def forward(self, features: Tensor, decoded: Tensor, *, exact: bool) -> tuple[Tensor, Tensor]:
        seen = features
        if self.context is not None:
            seen = torch.cat([features, self.context(context_features(decoded, exact=exact), exact=exact)], 1)
        hidden = self.hidden(seen, exact=exact)
        out = self.head(torch.cat([hidden, features], 1), exact=exact)
        mean, nats = out[:, : self.means], out[:, self.means :]
        if not self.means:
            mean = torch.zeros_like(nats)
        return to_grid(mean, UNIT) if exact else mean, nats * ROWS_PER_NAT


class Prior(nn.Module):
    """Hyper-synthesis and one stage per group.

    `base`: [knots, L] rows; `hyper_scale`: [knots, Z] for the training rate.
    """

    def __init__(self, groups: list[int], hyper: int, width: int, context: int, knots: int, *, with_means: int) -> None:
        super().__init__()
        self.groups, self.hyper = list(groups), hyper
        latents = sum(groups)
        self.expand = nn.ModuleList([IntegerConv(hyper, 4 * width, 3, source=1), IntegerConv(width, 4 * width, 3)])
        starts = [sum(groups[:i]) for i in range(len(groups))]
        self.stages = nn.ModuleList(
            Stage(start, size, size if start + size <= with_means else 0, width, context)
            for start, size in zip(starts, groups, strict=True)
        )
        self.base = nn.Parameter(torch.zeros(knots, latents))
        self.hyper_scale = nn.Parameter(torch.zeros(knots, hyper))

    @torch.no_grad()
    def rescale(self, factor: Tensor) -> None:
        """Expect latents that are larger by a factor [L]."""
        self.base.add_(ROWS_PER_NAT * torch.log(factor))
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.rescale(factor)

    def features(self, hyper: Tensor, *, exact: bool) -> Tensor:
        """Hyper symbols [B, Z, h/4, w/4] to features [B, width, h, w]."""
        for layer in self.expand:
            hyper = F.pixel_shuffle(layer(hyper, exact=exact), 2)
        return hyper

    def predictions(
        self, hyper: Tensor, base: Tensor, *, exact: bool
    ) -> Generator[tuple[Stage, Tensor, Tensor], Tensor, None]:
        """Each stage with its means and rows, real numbers; `send` the decoded latents of the stage to go on.

        hyper: symbols [B, Z, h/4, w/4]; base: [B, L, 1, 1] rows, already interpolated.
        """
        features = self.features(hyper, exact=exact)
        decoded = features[:, :0]
        if exact:
            base = to_grid(base, UNIT)
        for stage in self.stages:
            assert isinstance(stage, Stage)
            mean, rows = stage(features, decoded, exact=exact)
            rows = rows + base[:, stage.start : stage.start + stage.channels]
            if exact:
                rows = round_half_up(rows)
            latest = yield stage, mean, rows.clamp(0, ROWS - 1)
            decoded = torch.cat([decoded, latest], 1)


def rounded_hyper(hyper: Tensor) -> Tensor:
    """Symbols of hyper-latents; a byte holds them."""
    return torch.round(hyper).clamp(-128, 127)


def row_scale(rows: Tensor) -> Tensor:
    """The logistic scale, in quantization steps, of a row."""
    return FINEST * torch.exp(rows / ROWS_PER_NAT)


def scale_row(log_scale: Tensor) -> Tensor:
    """The row of a logistic scale given by its natural logarithm."""
    return (log_scale - math.log(FINEST)) * ROWS_PER_NAT


def noisy(value: Tensor) -> Tensor:
    """With additive uniform noise in place of rounding."""
    return value + torch.rand_like(value) - 0.5


__all__ = [
    "HyperAnalysis",
    "Prior",
    "code_length",
    "noisy",
    "rounded_hyper",
    "row_scale",
    "scale_row",
    "straight_through",
]
