"""What is minimised beside the rate, as training counts it and as a person reads it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentwire.train.image.settings import Distortion
from latentwire.train.image.transforms import RANGE

MS_SSIM_WORTH = 2000.0
"""Squared error that a loss of all MS-SSIM stands for: from one quality to the next, a trained codec's squared error
changes by 1700 to 2100 times what its 1 - MS-SSIM changes by (measured on photographs, 0.3 to 2.8 bits per pixel)."""
GRID = 16
"""Pixels between places from which MS-SSIM sees the same cells at all its scales."""


def distortion(kind: Distortion, restored: Tensor, image: Tensor) -> Tensor:
    """[B], in units of squared grey levels, of pictures [B, 3, H, W] around [-0.5, 0.5]."""
    return DISTORTIONS[kind].error(restored, image)


def framed(pictures: Sequence[Tensor], generator: Generator) -> list[Tensor]:
    """The same mirrored frame around pictures [B, C, H, W], of 16 to 32 pixels on each side, 48 each way.

    MS-SSIM halves pictures four times by means of 2x2 pixels. Trained on pictures that begin where its own blocks do, a
    codec learns to leave errors that cancel in these cells: 2 dB more distortion for whoever looks at the same picture
    one pixel further on (measured), and none in the figure. And its windows end where the picture does, so that the
    outermost pixels hardly count: without a frame they come out 22 grey levels off, 9 inside (measured).
    """
    top, left = (torch.randint(0, GRID, (2,), generator=generator) + GRID).tolist()
    return [reflected(picture, top, left) for picture in pictures]


def reflected(picture: Tensor, top: int, left: int) -> Tensor:
    """A picture [B, C, H, W] in a mirrored frame that makes it 48 pixels larger each way."""
    return F.pad(picture, (left, 3 * GRID - left, top, 3 * GRID - top), mode="reflect")


def squared_error(restored: Tensor, image: Tensor) -> Tensor:
    """Mean squared error [B] in grey levels squared."""
    return ((restored - image) ** 2).mean((1, 2, 3)) * RANGE**2


def similarity(restored: Tensor, image: Tensor) -> Tensor:
    """MS-SSIM [B] of pictures [B, 3, H, W] in [-0.5, 0.5], more than 160 pixels each way."""
    from pytorch_msssim import ms_ssim

    found: Tensor = ms_ssim(restored + 0.5, image + 0.5, data_range=1.0, size_average=False)
    return found


def structure(restored: Tensor, image: Tensor) -> Tensor:
    """What MS-SSIM lacks of 1 [B], as squared error in grey levels."""
    return MS_SSIM_WORTH * (1 - similarity(restored, image))


def mixed(restored: Tensor, image: Tensor) -> Tensor:
    """The mean [B] of both."""
    return (squared_error(restored, image) + structure(restored, image)) / 2


def decibels(kind: Distortion, restored: Tensor, image: Tensor) -> float:
    """PSNR, or -10 log10(1 - MS-SSIM) in a mirrored frame of structural ones; pictures [1, 3, H, W] in [-0.5, 0.5]."""
    if not DISTORTIONS[kind].structural:
        return -10 * math.log10(max(float(squared_error(restored, image)), 1e-9) / 255**2)
    alike = similarity(*(reflected(picture, GRID, GRID) for picture in (restored, image)))
    return -10 * math.log10(max(1 - float(alike), 1e-9))


@dataclass(frozen=True)
class Measure:
    """One distortion.

    Attributes:
        error: of pictures [B, 3, H, W] around [-0.5, 0.5], [B], in units of squared grey levels.
        structural: MS-SSIM is part of it: pictures are seen in a mirrored frame and judged by MS-SSIM, and its slopes
            may be infinite.
        balance: exponent that keeps the highest rates, whose losses and gradients are largest, from drowning the
            others. Gradients at the highest rates are 4 times those at the lowest for `photo`, 1.6 times for
            `photo-ms-ssim`; with 0.25 the latter would be 6 times (medians over six crops).
    """

    error: Callable[[Tensor, Tensor], Tensor]
    structural: bool
    balance: float


DISTORTIONS: Mapping[Distortion, Measure] = MappingProxyType(
    {
        "mse": Measure(squared_error, structural=False, balance=0.25),
        "ms-ssim": Measure(structure, structural=True, balance=0.5),
        "mix": Measure(mixed, structural=True, balance=0.5),
    }
)
"""The one table of what may be minimised beside the rate."""
