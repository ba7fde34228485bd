"""The learned probability model of the rate objective, and the learned step sizes.

`FactorizedPrior` is one distribution per channel over the latent itself, before quantization. The analysis transform
does not depend on the quality, so one density serves all step sizes: a coarser step only asks for the mass of wider
bins. (Balle et al. 2018, "Variational image compression with a scale hyperprior", appendix 6.1, has the idea of a
factorized prior of free shape; here a mixture of logistics stands for their cumulative network.)

`StepSizes` holds what the quality knob turns: for each channel a curve of log step over quality, linear between knots.
"""

import math

import torch
from torch import Tensor, nn

from latentwire.runtime.contract import QUALITIES

# A bin never gets less than this probability: a latent far outside the density must cost much, but not infinitely much.
LEAST_PROBABILITY = 1e-30


class FactorizedPrior(nn.Module):
    """A mixture of logistic distributions for each of C channels."""

    def __init__(self, channels: int, components: int) -> None:
        """Makes an unshaped prior; `start_from` gives it its first shape."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, components))
        self.mean = nn.Parameter(torch.zeros(channels, components))
        self.log_scale = nn.Parameter(torch.zeros(channels, components))

    @torch.no_grad()
    def start_from(self, latents: Tensor) -> None:
        """Places the components on the quantiles of the latents [N, C, ...], with scales that overlap."""
        values = latents.transpose(0, 1).flatten(1)
        components = self.mean.shape[1]
        levels = (torch.arange(components, dtype=values.dtype) + 0.5) / components
        self.weight.zero_()
        self.mean.copy_(torch.quantile(values, levels, dim=1).T)
        # A logistic of scale s has the deviation s * pi / sqrt(3); a dead channel must not get the scale 0.
        scale = values.std(1, correction=0) * math.sqrt(3) / math.pi / math.sqrt(components)
        floor = 1e-3 * scale.max().clamp_min(1e-6)
        self.log_scale.copy_(scale.clamp_min(floor).log()[:, None].expand(-1, components))

    def bits(self, latents: Tensor, steps: Tensor) -> Tensor:
        """Code length in bits, [N, C, ...], of the bin of width `steps` [N, C] around each latent [N, C, ...].

        -log2(F(y + step / 2) - F(y - step / 2)), where the difference is taken on the side of each component where the
        logistic's tail is small, so that it keeps its precision far out.
        """
        shape = (1, *self.mean.shape[:1], *[1] * (latents.dim() - 2), self.mean.shape[1])
        mean, scale = self.mean.view(shape), self.log_scale.exp().view(shape)
        weight = torch.softmax(self.weight, 1).view(shape)
        distance = -(latents.unsqueeze(-1) - mean).abs()
        half = per_channel(steps, latents).unsqueeze(-1) / 2
        mass = torch.sigmoid((distance + half) / scale) - torch.sigmoid((distance - half) / scale)
        return -torch.log2((weight * mass).sum(-1).clamp_min(LEAST_PROBABILITY))


class StepSizes(nn.Module):
    """Quantization steps over quality: `knots` learned points per channel, log-linear between them."""

    def __init__(self, channels: int, knots: int) -> None:
        """Makes steps of 1 everywhere; `start_from` sets them."""
        super().__init__()
        self.log_step = nn.Parameter(torch.zeros(knots, channels))

    @torch.no_grad()
    def start_from(self, log_steps: Tensor) -> None:
        """Sets every channel to the same curve: the natural logarithm of the step at each knot, [knots]."""
        self.log_step.copy_(log_steps[:, None].expand_as(self.log_step))

    def forward(self, position: Tensor) -> Tensor:
        """Steps [N, C] at positions [N] on the quality scale, 0 for the lowest and 1 for the highest."""
        knots = torch.arange(self.log_step.shape[0], dtype=position.dtype)
        # Hat functions: the two knots around a position share the weight 1.
        hats = (1 - (position[:, None] * (len(knots) - 1) - knots).abs()).clamp_min(0)
        return (hats @ self.log_step).exp()

    @torch.no_grad()
    def table(self) -> Tensor:
        """Steps [256, C] of every quality 0..255."""
        steps: Tensor = self(quality_positions())
        return steps


def quality_positions() -> Tensor:
    """The position in [0, 1] of each quality 0..255, float32 [256]."""
    return torch.arange(QUALITIES, dtype=torch.float32) / (QUALITIES - 1)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Values [N, C] in the shape that broadcasts against latents [N, C, ...]."""
    return values.view(*values.shape, *[1] * (like.dim() - 2))


def round_straight_through(latents: Tensor, steps: Tensor) -> Tensor:
    """Latents [N, C, ...] rounded to multiples of their steps [N, C], with gradients as if they were not.

    The latent's gradient passes unchanged; the step's is the rounding error in steps, whose expected effect on the
    squared error, 2 * step / 12, is the derivative of the true step^2 / 12 (Esser et al. 2020, "Learned step size
    quantization").
    """
    width = per_channel(steps, latents)
    ratio = latents / width
    return width * (ratio + (torch.round(ratio) - ratio).detach())


def steps_for_tradeoff(tradeoff: Tensor) -> Tensor:
    """The step that minimises bits + tradeoff * squared error for a channel of unit gain at high rate.

    There D = step^2 / 12 and dD/dR = -2 ln(2) D, so the optimum, 1 = tradeoff * 2 ln(2) * step^2 / 12, lies at
    step^2 = 6 / (ln(2) * tradeoff).
    """
    return torch.sqrt(6 / (math.log(2) * tradeoff))
