"""Quantization steps for another distortion than the one that weights were trained for.

A coarser step saves as many bits in one channel as in any other, so at the best steps it also costs as much distortion
in each (the law behind `STEP_LAW`). What it costs depends on the distortion: MS-SSIM hardly sees the finest details,
and sees the coarse ones better than the squared error does. Training would move the steps too, but slowly.
"""

import torch
from torch import Generator, Tensor

from latentwire.train.image.distortion import distortion, framed
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.photos import Crops
from latentwire.train.image.settings import Distortion

SAMPLE = 8
"""Crops for each knot: 2048 latents or more of each channel, in all 20 480 with ten knots."""
LARGEST_CHANGE = 4.0
"""And smallest, the other way round: of a step, whatever a sample says."""


def fit_steps(network: ImageNetwork, crops: Crops, before: Distortion, after: Distortion, seed: int) -> Tensor:
    """Move the network's steps from one distortion to another; returns what each channel's were divided by, [L].

    The square of a step goes with the inverse of the distortion's slope; the probability model follows.
    """
    generator = Generator().manual_seed(seed)
    slopes = torch.zeros(2, len(network.log_gain[0]))
    for knot, trade_off in enumerate(network.lambdas.tolist()):
        image = crops.draw(SAMPLE, generator)
        slopes += trade_off * _slopes(network, image, float(knot), (before, after), generator).cpu()
    smallest = slopes.amax(1, keepdim=True) * 1e-6
    ratio = torch.divide(*slopes.maximum(smallest).flip(0))
    factor = ratio.sqrt().clamp(1 / LARGEST_CHANGE, LARGEST_CHANGE)
    network.rescale(factor.to(network.log_gain.device))
    return factor


def _slopes(
    network: ImageNetwork, image: Tensor, level: float, kinds: tuple[Distortion, ...], generator: Generator
) -> Tensor:
    """What each distortion grows by with the logarithm of each channel's step, [kind, L], rounding as uniform noise."""
    levels = torch.full((len(image),), level, device=image.device)
    with torch.no_grad():
        latents, gain = network.scaled_latents(image, levels)
    noise = torch.rand(latents.shape, generator=generator).to(latents.device) - 0.5
    size = torch.ones(latents.shape[1], device=latents.device, requires_grad=True)
    restored = network.synthesis((latents + size[:, None, None] * noise) / gain, levels)
    seen = framed([restored, image], generator)
    errors = [distortion(kind, *seen).mean() for kind in kinds]
    return torch.stack([torch.autograd.grad(error, size, retain_graph=True)[0] for error in errors])
