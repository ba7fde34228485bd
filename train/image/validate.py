"""Judging weights on whole pictures: on crops, the edges weigh more than they do in use."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentwire.train.image.network import ImageNetwork, squared_error
from latentwire.train.image.settings import Distortion

DEAD_ZONE = 0.08
LEVELS = (1, 3, 5, 7)


@dataclass(frozen=True)
class Point:
    """Means over pictures at one level: bits per pixel, and decibels of the distortion that was trained for."""

    bpp: float
    decibels: float


def levels_of(network: ImageNetwork) -> list[float]:
    """Four levels, evenly spaced between the ends."""
    last = len(network.lambdas) - 1
    return [last * level / 8 for level in LEVELS]


@torch.no_grad()
def validate(network: ImageNetwork, photos: Sequence[Tensor], distortion: Distortion, *, exact: bool) -> list[Point]:
    """Code whole pictures uint8 [3, H, W] at four levels, rounded as packets are, and average."""
    device = network.log_gain.device
    points = []
    for level in levels_of(network):
        found = []
        for photo in photos:
            image = photo.to(device)[None].float() / 255 - 0.5
            height, width = image.shape[-2:]
            whole = F.pad(image, (0, -width % 64, 0, -height % 64), mode="replicate")
            coded = network(whole, torch.tensor([level], device=device), exact=exact, dead_zone=DEAD_ZONE)
            restored = coded.image[:, :, :height, :width].clamp(-0.5, 0.5)
            found.append((float(coded.bits) / height / width, decibels(restored, image, distortion)))
        points.append(Point(*(float(value) for value in np.mean(found, 0))))
    return points


def decibels(restored: Tensor, image: Tensor, distortion: Distortion) -> float:
    """PSNR, or -10 log10(1 - MS-SSIM) of pictures [1, 3, H, W] in [-0.5, 0.5]."""
    if distortion == "mse" or min(image.shape[-2:]) <= 160:
        return -10 * math.log10(max(float(squared_error(restored, image)), 1e-9) / 255**2)
    return -10 * math.log10(max(1 - float(similarity(restored, image)), 1e-9))


def similarity(restored: Tensor, image: Tensor) -> Tensor:
    """MS-SSIM [B] of pictures [B, 3, H, W] in [-0.5, 0.5], more than 160 pixels each way."""
    from pytorch_msssim import ms_ssim

    found: Tensor = ms_ssim(restored + 0.5, image + 0.5, data_range=1.0, size_average=False)
    return found


def rate_difference(base: Sequence[Point], other: Sequence[Point]) -> float:
    """Mean difference of the rate at equal quality, as a share; negative where ``other`` needs less (Bjontegaard's).

    Logarithms of the rate are interpolated linearly over the common range of decibels.
    """
    curves = [sorted((point.decibels, math.log(point.bpp)) for point in curve) for curve in (base, other)]
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    at = np.linspace(low, high, 256)
    first, second = (np.interp(at, *np.array(curve).T) for curve in curves)
    return float(np.exp((second - first).mean()) - 1)
