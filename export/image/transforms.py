"""The two transforms of the image family as torch modules for export: pictures in, pictures out, of any size.

Their heaviest layers are written as products of matrices over patches: ONNX Runtime multiplies bytes 20 times faster
than it convolves them with a kernel as large as its stride.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.transforms import PATCH, RANGE

ZERO_LEVEL = 128
"""The grey level that stands for 0 in the exported graph; a byte's own zero point, so that int8 loses nothing."""
SHIFT = (ZERO_LEVEL - RANGE / 2) / RANGE
"""The network's input for that level: it was trained on levels / 255 - 1/2."""


class Patches(nn.Module):
    """A convolution whose stride is its size, as a product over patches: [H, W, C] to rows [h * w, out], no bias."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.size = int(weight.shape[-1])
        self.weight = nn.Parameter(
            weight.permute(2, 3, 1, 0).reshape(-1, len(weight)).contiguous(), requires_grad=False
        )

    def forward(self, picture: Tensor) -> Tensor:
        """A picture around `ZERO_LEVEL`, whose sizes are multiples of the patch's."""
        size, channels = self.size, picture.shape[-1]
        height, width = picture.shape[0] // size, picture.shape[1] // size
        blocks = picture.reshape(height, size, width, size, channels).permute(0, 2, 1, 3, 4)
        rows = blocks.reshape(height * width, size * size * channels)
        return ((rows.float() - ZERO_LEVEL) / RANGE) @ self.weight


def shifted_bias(convolution: nn.Conv2d) -> Tensor:
    """The bias [out] that makes up for `SHIFT`."""
    weight = convolution.weight.detach()
    bias = torch.zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
    return bias + SHIFT * weight.sum((1, 2, 3))


class AnalysisTransform(nn.Module):
    """uint8 [H, W, 3], sizes multiples of 64, to latents float32 [1, L, H / 16, W / 16] in grey levels."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        layers = list(copy.deepcopy(network.analysis.net).requires_grad_(False))
        first, last = layers[0], layers[-1]
        assert isinstance(first, nn.Conv2d) and isinstance(last, nn.Conv2d) and last.bias is not None
        self.klt, self.first, self.rest = Patches(network.analysis.klt), Patches(first), nn.Sequential(*layers[1:-1])
        self.first_bias = nn.Parameter(shifted_bias(first)[None, :, None, None], requires_grad=False)
        self.klt.weight.mul_(RANGE)
        self.last = nn.Parameter(last.weight[:, :, 0, 0].T.contiguous() * (RANGE / 4), requires_grad=False)
        bias = last.bias * RANGE / 4 + shifted_bias(network.analysis.klt) * RANGE
        self.last_bias = nn.Parameter(bias[None, :, None, None], requires_grad=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Latents of a whole picture."""
        height, width = picture.shape[0] // PATCH, picture.shape[1] // PATCH
        fine = self.first(picture).reshape(1, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        features = self.rest(fine + self.first_bias)
        rows = features.permute(0, 2, 3, 1).reshape(height * width, -1)
        # Biases are added to pictures, not to rows: with a bias, a product of bytes would not stay one.
        sums: Tensor = (self.klt(picture) + rows @ self.last).reshape(1, height, width, -1)
        return sums.permute(0, 3, 1, 2) + self.last_bias


class SynthesisTransform(nn.Module):
    """Latents float32 [1, L, h, w] in grey levels to float32 [16 h, 16 w, 3] in grey levels, not yet rounded."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network.synthesis).requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        """A whole picture, clipped to 0..255."""
        picture = self.network(latents)[0].permute(1, 2, 0)
        return torch.clamp(picture * RANGE + RANGE / 2, 0.0, RANGE)
