"""What rate-distortion benchmarks share: measures of quality, Bjontegaard rate difference, codecs of Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pytorch_msssim import ms_ssim
from scipy.interpolate import PchipInterpolator

Picture = npt.NDArray[np.uint8]
MEASURES = ("psnr", "ms_ssim_db", "shifted_db")
SHIFTED = (slice(1, -15), slice(1, -15))
"""The size stays a multiple of 16 if it was one: MS-SSIM pads odd sizes at each scale, which shifts the cells too."""


@dataclass(frozen=True)
class Codec:
    """Something that encodes a picture uint8 [H, W, 3] at a setting and decodes the bytes."""

    name: str
    settings: Sequence[int]
    encode: Callable[[Picture, int], bytes]
    decode: Callable[[bytes], Picture]


@dataclass(frozen=True)
class Point:
    """Means over pictures at one setting: bits per pixel, PSNR of RGB in dB, MS-SSIM of RGB, and that in dB.

    `shifted_db` is MS-SSIM in dB of the pictures from their second row and column on. MS-SSIM halves pictures by means
    of 2x2 pixels, and a codec that is trained for it can learn to hide errors in these cells, if they are always the
    same.
    """

    setting: int
    bpp: float
    psnr: float
    ms_ssim: float
    ms_ssim_db: float
    shifted_db: float

    def to_json(self) -> dict[str, Any]:
        """Rounded for people."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def pillow(name: str, form: str, settings: Sequence[int], **options: Any) -> Codec:
    """One of Pillow's encoders, its quality as the setting."""

    def encode(picture: Picture, setting: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, form, quality=setting, **options)
        return buffer.getvalue()

    def decode(data: bytes) -> Picture:
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))

    return Codec(name, settings, encode, decode)


def psnr(restored: Picture, picture: Picture) -> float:
    """Decibels over the squared error of all samples; 100 for identical pictures."""
    error = float(np.square(restored.astype(np.float64) - picture).mean())
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def similarity(restored: Picture, picture: Picture) -> float:
    """MS-SSIM of RGB levels; pictures of more than 160 pixels each way."""
    pair = [torch.tensor(image).permute(2, 0, 1)[None].float() for image in (restored, picture)]
    return float(ms_ssim(*pair, data_range=255))


def decibels(alike: float) -> float:
    """-10 log10(1 - MS-SSIM), 90 at most."""
    return -10 * float(np.log10(max(1 - alike, 1e-9)))


def curve(codec: Codec, pictures: Sequence[Picture]) -> list[Point]:
    """One point a setting, averaged over pictures."""
    points = []
    for setting in codec.settings:
        rows = []
        for picture in pictures:
            data = codec.encode(picture, setting)
            restored = codec.decode(data)
            alike = similarity(restored, picture)
            bpp = 8 * len(data) / (picture.shape[0] * picture.shape[1])
            shifted = similarity(restored[SHIFTED], picture[SHIFTED])
            rows.append((bpp, psnr(restored, picture), alike, decibels(alike), decibels(shifted)))
        points.append(Point(setting, *(float(value) for value in np.mean(rows, 0))))
    return points


def bd_rate(base: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float:
    """Bjontegaard's difference of the rate at equal quality, in per cent, negative where ``other`` needs less.

    Curves are (rate, decibels); logarithms of the rate are interpolated with monotone cubics (PCHIP) over the common
    range of decibels.

    Raises:
        ValueError: the ranges do not overlap.
    """
    curves = [sorted((decibels, np.log(rate)) for rate, decibels in points) for points in (base, other)]
    low, high = max(points[0][0] for points in curves), min(points[-1][0] for points in curves)
    if low >= high:
        raise ValueError(
            f"expected curves that share a range of quality, found {low:.2f} and {high:.2f} dB as its ends"
        )
    first, second = (PchipInterpolator(*np.array(points).T).integrate(low, high) for points in curves)
    return 100 * float(np.exp((second - first) / (high - low)) - 1)


def difference(base: Sequence[Point], other: Sequence[Point], measure: str) -> float:
    """`bd_rate` of two curves by one of `MEASURES`."""
    pairs = [[(point.bpp, float(getattr(point, measure))) for point in points] for points in (base, other)]
    return bd_rate(*pairs)


@dataclass(frozen=True)
class Plot:
    """Curves to draw, by name."""

    curves: Mapping[str, Sequence[Point]]
    title: str
    size: tuple[float, float] = field(default=(11, 4.4))

    def png(self) -> bytes:
        """PSNR and MS-SSIM over bits per pixel, side by side."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (measure, label) in zip(
            figure.subplots(1, 2), (("psnr", "PSNR, dB"), ("ms_ssim_db", "MS-SSIM, dB")), strict=True
        ):
            for name, points in self.curves.items():
                style = "o-" if "latentwire" in name else ".--"
                axes.plot([p.bpp for p in points], [getattr(p, measure) for p in points], style, ms=4, label=name)
            axes.set(xlabel="bits per pixel", ylabel=label, xlim=(0, 2.2))
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
        figure.suptitle(self.title)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
        return buffer.getvalue()
