"""Analysis and synthesis transform of the image family: a KLT path and a learned residual beside it.

The KLT's bases overlap. Blocks without overlap show their borders in flat places: nothing that a block says reaches its
neighbour. So each basis reaches `LAP` pixels into the neighbouring blocks, as in a lapped transform (Malvar 1992,
"Signal processing with lapped transforms"), and so does each patch that the residual network of the synthesis draws.
They start as a filter across block borders in front of the KLT of blocks (Tran, Liang, Tu 2003, "Lapped transform via
time-domain pre- and post-filtering"), with perfect reconstruction, and learn on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentwire.train.image.settings import Shape

PATCH = 16  # pixels per latent position, each way
RANGE = 255.0  # latents are in units of one grey level
LAP = 2
"""Pixels that a basis reaches into each neighbour."""
FINE = 8
"""Pixels per position of the residual network's last layer, each way."""
LAST_LAP = 2
"""Pixels that its patches reach into each neighbour."""
ACROSS = ((1.41, 0.335), (-0.11, 1.16))
"""How the filter across a border changes the differences of pixels at the same distance from it, the nearest first;
their sums stay. Best of all such filters for photographs: 4.0 % fewer bits than blocks at lambda 0.0035, 2.7 % at 0.025
(rate of Gaussian latents at equal error; bases of 24 pixels, 4 into each neighbour: 5.2 % at 0.0035)."""


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


def mirrored(image: Tensor, by: int) -> Tensor:
    """An image [B, C, H, W] in a frame of its mirror image, the outermost pixels twice: [B, C, H + 2 by, W + 2 by]."""
    if not by:
        return image
    wide = torch.cat([image[..., :by].flip(-1), image, image[..., -by:].flip(-1)], -1)
    return torch.cat([wide[..., :by, :].flip(-2), wide, wide[..., -by:, :].flip(-2)], -2)


def folded(canvas: Tensor, by: int) -> Tensor:
    """The transpose of `mirrored`: each pixel of the frame is added to the one that it mirrors."""
    return _folded_columns(_folded_columns(canvas, by).transpose(2, 3), by).transpose(2, 3)


def _folded_columns(canvas: Tensor, by: int) -> Tensor:
    left = canvas[..., by : 2 * by] + canvas[..., :by].flip(-1)
    right = canvas[..., -2 * by : -by] + canvas[..., -by:].flip(-1)
    return torch.cat([left, canvas[..., 2 * by : -2 * by], right], -1)


class Patches(nn.Module):
    """Features [B, F, h, w] to an image [B, C, h * stride, w * stride]: a patch for each position, added up.

    A patch reaches `lap` pixels into each neighbour; what would reach beyond the image is mirrored back into it.
    """

    def __init__(self, features: int, channels: int, stride: int, lap: int, *, bias: bool) -> None:
        super().__init__()
        self.stride, self.lap, self.side = stride, lap, stride + 2 * lap
        self.patch = nn.Conv2d(features, channels * self.side**2, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """The image; shapes as above."""
        values = self.patch(features)
        if not self.lap:
            return F.pixel_shuffle(values, self.stride)
        height, width = (size * self.stride + 2 * self.lap for size in features.shape[2:])
        canvas = F.fold(values.float().flatten(2), (height, width), self.side, stride=self.stride)
        return folded(canvas, self.lap)


class Analysis(nn.Module):
    """Pixels [B, C, H, W] in [-0.5, 0.5] to latents [B, L, H/16, W/16] in grey levels; H and W multiples of 16.

    `level_bias` [knots, width] tells the residual network which quality is asked for.
    """

    def __init__(self, channels: int, latents: int, width: int, knots: int, shape: Shape) -> None:
        super().__init__()
        self.lap = LAP if shape == "lapped" else 0
        self.klt = nn.Conv2d(channels, latents, PATCH + 2 * self.lap, PATCH, bias=False)
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
        latents: Tensor = self.klt(mirrored(image, self.lap)) * RANGE + self.net(features) * (RANGE / 4)
        return latents


class Synthesis(nn.Module):
    """Latents [B, L, h, w] in grey levels to pixels [B, C, 16 h, 16 w] around [-0.5, 0.5].

    `level_bias` [knots, 3 width] tells the residual network how coarsely the latents were quantized. Convolutions and
    DepthToSpace only, but for the patches that overlap: no transposed convolution, which runs slowly as int8 and on
    many accelerators.
    """

    def __init__(self, channels: int, latents: int, width: int, knots: int, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        wide = 3 * width
        self.klt = Patches(latents, channels, PATCH, LAP if shape == "lapped" else 0, bias=False)
        self.first = nn.Conv2d(latents, wide, 1)
        self.level_bias = nn.Parameter(torch.zeros(knots, wide))
        self.net = nn.Sequential(*(Block(wide) for _ in range(6)), *_TAILS[shape](channels, wide))

    def forward(self, latents: Tensor, level: Tensor) -> Tensor:
        """The images of latents that were quantized at levels [B]; shapes as above."""
        scaled = latents / RANGE
        features = self.first(scaled) + between(self.level_bias, level)
        image: Tensor = self.klt(scaled) + self.net(features)
        return image


def _lapped_tail(channels: int, wide: int) -> Iterator[nn.Module]:
    """From positions of 16 pixels to pixels, by patches that overlap."""
    fine = wide // 2
    yield from (nn.Conv2d(wide, 4 * fine, 1), nn.PixelShuffle(2))
    yield from (Block(fine) for _ in range(4))
    last = Patches(fine, channels, FINE, LAST_LAP, bias=True)
    zeroed(last.patch)
    yield last


def _block_tail(channels: int, wide: int) -> Iterator[nn.Module]:
    """The same of weights from before patches overlapped, whose last layers were four pixels apart."""
    fine, width = 2 * wide // 3, wide // 3
    yield from (nn.Conv2d(wide, 4 * fine, 1), nn.PixelShuffle(2))
    yield from (Block(fine) for _ in range(4))
    yield from (nn.Conv2d(fine, 4 * width, 1), nn.PixelShuffle(2))
    yield from (Block(width) for _ in range(2))
    yield from (zeroed(nn.Conv2d(width, channels * 16, 3, padding=1)), nn.PixelShuffle(4))


_TAILS: Mapping[Shape, Callable[[int, int], Iterator[nn.Module]]] = {
    "lapped": _lapped_tail,
    "blocks": _block_tail,
}


@torch.no_grad()
def warm_start(analysis: Analysis, synthesis: Synthesis, images: Tensor) -> Tensor:
    """Set both KLT paths from images [N, C, H, W] in [-0.5, 0.5]; returns latents' deviations [L] in grey levels."""
    channels, latents, lap = images.shape[1], analysis.klt.out_channels, analysis.lap
    odd = torch.tensor(ACROSS) if lap else torch.zeros(0, 0)
    before, after = filter_across(odd), filter_across(torch.linalg.inv(odd).T)
    windows = mirrored(images, lap).unfold(2, PATCH + 2 * lap, PATCH).unfold(3, PATCH + 2 * lap, PATCH)
    blocks = torch.einsum("ia,nchwab,jb->nchwij", before, windows, before)
    patches = blocks.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * PATCH**2)
    energy, basis = torch.linalg.eigh((patches.T @ patches / len(patches)).double())
    order = torch.argsort(energy, descending=True)[:latents]
    kernel = basis[:, order].float().T.reshape(latents, channels, PATCH, PATCH)
    forth = torch.einsum("lcij,ia,jb->lcab", kernel, before, before)
    back = torch.einsum("lcij,ia,jb->lcab", kernel, after, after).flatten(1)
    # A step means the same error in every channel where the bases of the synthesis have length one.
    length = back.norm(dim=1)
    analysis.klt.weight.copy_(forth * length[:, None, None, None])
    synthesis.klt.patch.weight.copy_((back / length[:, None]).T[:, :, None, None])
    deviation: Tensor = RANGE * energy[order].clamp_min(0).float().sqrt() * length
    return deviation


def filter_across(odd: Tensor) -> Tensor:
    """Pixels [PATCH + 2 lap] along a line to the [PATCH] that a block transforms, as a matrix.

    Across each border, sums of two pixels at the same distance stay and their differences [lap] become `odd` times
    them. The filter that undoes it has the inverse in place of `odd`; transposed, it is that of the synthesis.
    """
    lap = len(odd)
    matrix = torch.zeros(PATCH, PATCH + 2 * lap)
    inner = torch.arange(lap, PATCH - lap)
    matrix[inner, inner + lap] = 1
    own, other = (torch.eye(lap) + odd) / 2, (torch.eye(lap) - odd) / 2
    start, end = torch.arange(lap), PATCH - 1 - torch.arange(lap)
    matrix[start[:, None], lap + start] = own
    matrix[start[:, None], lap - 1 - start] = other
    matrix[end[:, None], lap + end] = own
    matrix[end[:, None], lap + PATCH + start] = other
    return matrix
