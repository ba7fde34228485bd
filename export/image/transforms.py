"""The two transforms of the image family as torch modules for export: pictures in, pictures out, of any size.

Their heaviest layers are written as products of matrices over patches: ONNX Runtime multiplies bytes 20 times faster
than it convolves them with a kernel as large as its stride.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentwire.runtime.contract import QUALITIES
from latentwire.train.image import PATCH, RANGE, ImageNetwork, Patches, between, folded, mirrored

ZERO_LEVEL = 128
"""The grey level that stands for 0 in the exported graph; a byte's own zero point, so that int8 loses nothing."""
SHIFT = (ZERO_LEVEL - RANGE / 2) / RANGE
"""The network's input for that level: it was trained on levels / 255 - 1/2."""


FINE = 8
"""Side of the patches that the residual network starts from."""


class Products(nn.Module):
    """A convolution whose stride is its size, as a product of patches' rows and a matrix; no bias."""

    def __init__(self, weight: Tensor) -> None:
        """Takes the matrix [row, out]."""
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [n, row] of bytes around `ZERO_LEVEL` to float32 [n, out]."""
        return ((rows.float() - ZERO_LEVEL) / RANGE) @ self.weight


def fine_patches(picture: Tensor) -> Tensor:
    """[H, W, C] to [H / 8, W / 8, 8 * 8 * C]."""
    height, width, channels = picture.shape[0] // FINE, picture.shape[1] // FINE, picture.shape[2]
    blocks = picture.reshape(height, FINE, width, FINE, channels).permute(0, 2, 1, 3, 4)
    return blocks.reshape(height, width, FINE * FINE * channels)


def lapped_patches(picture: Tensor, lap: int) -> Tensor:
    """[H, W, C] to [H / 16, W / 16, 20 * 20 * C] for a lap of 2: windows that reach into their neighbours.

    Beyond the picture they see its mirror image. Cut in tiles of twice the lap, so that a window is whole tiles, of
    which it shares some with the next one.
    """
    side = 2 * lap
    whole = mirrored(picture.permute(2, 0, 1)[None], lap)[0].permute(1, 2, 0)
    rows, columns, channels = whole.shape[0] // side, whole.shape[1] // side, whole.shape[2]
    tiles = whole.reshape(rows, side, columns, side, channels).permute(0, 2, 1, 3, 4)
    tiles = _windows(tiles.reshape(rows, columns, side * side * channels), PATCH // side)
    return _windows(tiles.transpose(0, 2), PATCH // side).permute(3, 0, 2, 1, 4).flatten(2)


def _windows(tiles: Tensor, own: int) -> Tensor:
    """Tiles [n * own + 1, ...] to [n, own + 1, ...]: the first tile of each window is the last of the one before."""
    count = tiles.shape[0] // own
    inner = tiles[: count * own].reshape(count, own, *tiles.shape[1:])
    return torch.cat([inner, tiles[own::own][:, None]], 1)


def coarse_patches(fine: Tensor) -> Tensor:
    """Rows of fine patches [h, w, row] side by side: [h / 2, w / 2, 4 row]. Quicker than cutting the picture again."""
    height, width, row = fine.shape[0] // 2, fine.shape[1] // 2, fine.shape[2]
    return fine.reshape(height, 2, width, 2, row).permute(0, 2, 1, 3, 4).reshape(height, width, 4 * row)


def fine_matrix(weight: Tensor) -> Tensor:
    """[out, C, 8, 8] to [8 * 8 * C, out], in the order of `fine_patches`."""
    return weight.permute(2, 3, 1, 0).reshape(-1, len(weight))


def coarse_matrix(weight: Tensor) -> Tensor:
    """[out, C, 16, 16] to [16 * 16 * C, out], in the order of `coarse_patches`."""
    split = weight.reshape(len(weight), weight.shape[1], 2, FINE, 2, FINE)
    return split.permute(2, 4, 3, 5, 1, 0).reshape(-1, len(weight))


def lapped_matrix(weight: Tensor, lap: int) -> Tensor:
    """[out, C, 20, 20] to [20 * 20 * C, out] for a lap of 2, in the order of `lapped_patches`."""
    side = 2 * lap
    count = weight.shape[-1] // side
    split = weight.reshape(len(weight), weight.shape[1], count, side, count, side)
    return split.permute(2, 4, 3, 5, 1, 0).reshape(-1, len(weight))


def shifted_bias(convolution: nn.Conv2d) -> Tensor:
    """The bias [out] that makes up for `SHIFT`."""
    weight = convolution.weight.detach()
    bias = torch.zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
    return bias + SHIFT * weight.sum((1, 2, 3))


def level_of(quality: Tensor, knots: Tensor) -> Tensor:
    """Qualities uint8 [B] as levels between knots [K, C]: 0..K-1."""
    return quality.float() * ((len(knots) - 1) / (QUALITIES - 1))


class AnalysisTransform(nn.Module):
    """A picture uint8 [H, W, 3], sizes multiples of 64, to latents float32 [1, L, H / 16, W / 16] in grey levels."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        source = copy.deepcopy(network.analysis).requires_grad_(False)
        *layers, last = source.net
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        self.lap = source.lap
        matrix = lapped_matrix(source.klt.weight, self.lap) if self.lap else coarse_matrix(source.klt.weight)
        self.klt = Products(matrix * RANGE)
        self.first, self.rest = Products(fine_matrix(source.first.weight)), nn.Sequential(*layers)
        self.first_bias = nn.Parameter(source.level_bias + shifted_bias(source.first), requires_grad=False)
        self.last = nn.Parameter(last.weight[:, :, 0, 0].T.contiguous() * (RANGE / 4), requires_grad=False)
        bias = last.bias * RANGE / 4 + shifted_bias(source.klt) * RANGE
        self.last_bias = nn.Parameter(bias[None, :, None, None], requires_grad=False)

    def forward(self, picture: Tensor, quality: Tensor) -> Tensor:
        """Latents of a whole picture at a quality uint8 []."""
        patches = fine_patches(picture)
        height, width = picture.shape[0] // PATCH, picture.shape[1] // PATCH
        bias = between(self.first_bias, level_of(quality, self.first_bias)[None])
        fine = self.first(patches.reshape(4 * height * width, -1)).reshape(1, 2 * height, 2 * width, -1)
        features = self.rest(fine.permute(0, 3, 1, 2) + bias)
        rows = features.permute(0, 2, 3, 1).reshape(height * width, -1)
        # Biases are added to pictures, not to rows: with a bias, a product of bytes would not stay one.
        coarse = lapped_patches(picture, self.lap) if self.lap else coarse_patches(patches)
        sums: Tensor = (self.klt(coarse.reshape(height * width, -1)) + rows @ self.last).reshape(1, height, width, -1)
        return sums.permute(0, 3, 1, 2) + self.last_bias


class Overlapping(nn.Module):
    """`Patches` as one transposed convolution, which every runtime has: its sums are those of patches that overlap."""

    def __init__(self, source: Patches) -> None:
        super().__init__()
        self.stride, self.lap = source.stride, source.lap
        parts = [source.patch.weight[:, :, 0, 0].T]
        if source.patch.bias is not None:  # as one more feature, which is 1 at every position
            parts.append(source.patch.bias[None])
        matrix = torch.cat(parts)
        self.constant = len(parts) > 1
        kernel = matrix.reshape(len(matrix), -1, source.side, source.side)
        self.weight = nn.Parameter(kernel.detach().contiguous(), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F, h, w] to [B, C, h * stride, w * stride]."""
        if self.constant:
            features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
        return folded(F.conv_transpose2d(features, self.weight, stride=self.stride), self.lap)


def overlapping(layer: nn.Module) -> nn.Module:
    """The layer, in a form that exports, if its patches overlap."""
    return Overlapping(layer) if isinstance(layer, Patches) and layer.lap else layer


class SynthesisTransform(nn.Module):
    """Latents float32 [B, L, h, w] in grey levels to float32 [B, 16 h, 16 w, 3] in grey levels, not yet rounded."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        source = copy.deepcopy(network.synthesis).requires_grad_(False)
        self.klt, self.first, self.level_bias = overlapping(source.klt), source.first, source.level_bias
        self.rest = nn.Sequential(*(overlapping(layer) for layer in source.net))

    def forward(self, latents: Tensor, quality: Tensor) -> Tensor:
        """Whole pictures that were sent at qualities uint8 [B], clipped to 0..255."""
        scaled = latents / RANGE
        features = self.first(scaled) + between(self.level_bias, level_of(quality, self.level_bias))
        image = self.klt(scaled) + self.rest(features)
        return torch.clamp(image.permute(0, 2, 3, 1) * RANGE + RANGE / 2, 0.0, RANGE)
