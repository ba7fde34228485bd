"""Judging weights on whole pictures: on crops, the edges weigh more than they do in use."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latentwire.runtime.errors import InputShapeError
from latentwire.train.image.distortion import DISTORTIONS, decibels
from latentwire.train.image.network import DEAD_ZONE, ImageNetwork
from latentwire.train.image.settings import Distortion

LEVELS = (1, 3, 5, 7)
"""Eighths of the way from the lowest level to the highest."""
SMALLEST_SIMILARITY = 161
"""MS-SSIM halves a picture four times and then needs 11 pixels each way."""
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """Means over pictures at one level: bits per pixel, and decibels of the distortion that was trained for."""

    bpp: float
    decibels: float


def levels_of(network: ImageNetwork) -> list[float]:
    """Four levels, evenly spaced between the ends."""
    last = len(network.lambdas) - 1
    return [last * level / 8 for level in LEVELS]


def judged(photos: Sequence[Tensor], distortion: Distortion, count: int) -> list[Tensor]:
    """At most ``count`` of the pictures uint8 [3, H, W], evenly spaced, that the measure of the distortion is for.

    Raises:
        InputShapeError: MS-SSIM has none that is large enough.
    """
    structural = DISTORTIONS[distortion].structural
    usable = [photo for photo in photos if not structural or min(photo.shape[1:]) >= SMALLEST_SIMILARITY]
    if not usable:
        raise InputShapeError(
            f"expected a validation picture of at least {SMALLEST_SIMILARITY} pixels each way for MS-SSIM, "
            f"found {len(photos)} smaller ones"
        )
    return usable[:: math.ceil(len(usable) / count)]


@torch.no_grad()
def validate(network: ImageNetwork, photos: Sequence[Tensor], distortion: Distortion, *, exact: bool) -> list[Point]:
    """Code whole pictures uint8 [3, H, W] at four levels, rounded as packets are, and average.

    Bits are the probability model's ideal code lengths; with ``exact`` the model computes in integers, as exported.
    """
    points = []
    for level in levels_of(network):
        found = [_coded(network, photo, level, distortion, exact=exact) for photo in photos]
        points.append(Point(*(float(value) for value in np.mean(found, 0))))
    return points


def _coded(
    network: ImageNetwork, photo: Tensor, level: float, distortion: Distortion, *, exact: bool
) -> tuple[float, float]:
    device = network.log_gain.device
    image = photo.to(device)[None].float() / 255 - 0.5
    height, width = image.shape[-2:]
    whole = F.pad(image, (0, -width % 64, 0, -height % 64), mode="replicate")
    coded = network(whole, torch.tensor([level], device=device), exact=exact, dead_zone=DEAD_ZONE)
    restored = coded.image[:, :, :height, :width].clamp(-0.5, 0.5)
    return float(coded.bits) / height / width, decibels(distortion, restored, image)


def rate_difference(base: Sequence[Point], other: Sequence[Point]) -> float:
    """Mean difference of the rate at equal quality, as a share; negative where ``other`` needs less.

    Bjontegaard's delta rate (VCEG-M33) with monotone cubics: the logarithm of the rate is interpolated over decibels
    and averaged over the decibels that both curves have. Curves that have none in common are drawn on as straight
    lines and compared over the gap between them, so that any two can be ranked.
    """
    first, second = (_curve(points) for points in (base, other))
    low, high = max(first[0, 0], second[0, 0]), min(first[-1, 0], second[-1, 0])
    at = np.linspace(low, high, 256)
    difference = float((_interpolated(second, at) - _interpolated(first, at)).mean())
    return math.exp(min(difference, 50.0)) - 1


def _curve(points: Sequence[Point]) -> Curve:
    """Decibels, strictly rising, and logarithms of the rate: [n, 2]; of points of one quality the cheapest stays."""
    ordered = np.array(sorted((point.decibels, math.log(point.bpp)) for point in points))
    return ordered[np.diff(ordered[:, 0], prepend=-np.inf) > 0]


def _interpolated(curve: Curve, at: Curve) -> Curve:
    """Cubic Hermite pieces between a curve's points, straight lines beyond its ends."""
    x, y = curve.T
    if len(x) == 1:
        return np.full_like(at, y[0])
    slopes = _monotone_slopes(x, y)
    inside = np.clip(at, x[0], x[-1])
    piece = np.clip(np.searchsorted(x, inside) - 1, 0, len(x) - 2)
    step = x[piece + 1] - x[piece]
    t = (inside - x[piece]) / step
    rise = y[piece + 1] - y[piece]
    left, right = slopes[piece] * step, slopes[piece + 1] * step
    value = y[piece] + t * left + t**2 * (3 * rise - 2 * left - right) + t**3 * (left + right - 2 * rise)
    beyond = np.where(at < x[0], slopes[0], slopes[-1]) * (at - inside)
    found: Curve = value + beyond
    return found


def _monotone_slopes(x: Curve, y: Curve) -> Curve:
    """Slopes at the points by Fritsch and Butland (1984), the ends by a one-sided formula of three points.

    The interpolation never overshoots: between two points it stays between their values.
    """
    step = np.diff(x)
    secant = np.diff(y) / step
    if len(x) == 2:
        return np.full_like(x, secant[0])
    turns = secant[:-1] * secant[1:] <= 0
    safe = np.where(secant == 0, 1.0, secant)
    before, after = step[:-1] + 2 * step[1:], 2 * step[:-1] + step[1:]
    inner = np.where(turns, 0.0, (before + after) / (before / safe[:-1] + after / safe[1:]))
    first = _end_slope(step[0], step[1], secant[0], secant[1])
    last = _end_slope(step[-1], step[-2], secant[-1], secant[-2])
    return np.concatenate([[first], inner, [last]])


def _end_slope(near: float, far: float, secant: float, next_secant: float) -> float:
    slope = ((2 * near + far) * secant - near * next_secant) / (near + far)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > abs(3 * secant):
        return 3 * secant
    return slope
