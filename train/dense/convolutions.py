"""A decoder for items that are pictures: vectors [N, D] in, vectors out, convolutions between.

The encoder of a device stays a few matrix products; the server can afford more. What lies between is a picture at a
quarter of the size, whose upscaling is a convolution and a pixel shuffle, which ONNX Runtime has fast kernels for (it
has none in int8 for transposed convolutions). Weights that are shared over the picture overfit less: in
short trials on MNIST test digits cost as many bits as training digits, and 6 % more with wide layers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.train.dense.autoencoder import linear
from latentwire.train.errors import SettingsError

SCALE = 4  # two pixel shuffles by 2


class PictureDecoder(nn.Module):
    """Latents [N, C] -> vectors [N, H * W * channels].

    Layers to [N, maps[0], H / 4, W / 4], residual 3x3 convolutions, one up to [N, maps[1], H / 2, W / 2], residual 3x3
    convolutions, one up to [N, channels, H, W]. Sizes that 4 does not divide are rounded up, and the picture is cut.
    """

    def __init__(
        self,
        latent: int,
        hidden: tuple[int, ...],
        maps: tuple[int, int],
        blocks: tuple[int, int],
        shape: tuple[int, ...],
    ) -> None:
        """Makes the layers for items of `shape` [H, W] or [H, W, channels]; raises SettingsError for any other."""
        super().__init__()
        if len(shape) not in (2, 3):
            raise SettingsError(
                f"a decoder of pictures needs items of shape [H, W] or [H, W, channels], found {list(shape)}: "
                "choose --decoder layers"
            )
        self.height, self.width, self.channels = (*shape, 1)[:3]
        self.small = (maps[0], math.ceil(self.height / SCALE), math.ceil(self.width / SCALE))
        widths = (latent, *hidden, math.prod(self.small))
        self.layers = nn.ModuleList(linear(before, after) for before, after in pairwise(widths))
        self.low = nn.ModuleList(_convolution(maps[0], maps[0]) for _ in range(blocks[0]))
        self.up = _convolution(maps[0], 4 * maps[1])
        self.high = nn.ModuleList(_convolution(maps[1], maps[1]) for _ in range(blocks[1]))
        self.head = _convolution(maps[1], 4 * self.channels)

    def forward(self, latents: Tensor) -> Tensor:
        """Vectors [N, H * W * channels] from latents [N, C]."""
        x = latents
        for layer in self.layers:
            x = F.relu(layer(x))
        x = x.view(-1, *self.small)
        for convolution in self.low:
            x = x + F.relu(convolution(x))
        x = F.pixel_shuffle(F.relu(self.up(x)), 2)
        for convolution in self.high:
            x = x + F.relu(convolution(x))
        x = F.pixel_shuffle(self.head(x), 2)[:, :, : self.height, : self.width]
        return torch.flatten(x.permute(0, 2, 3, 1), 1) if self.channels > 1 else torch.flatten(x, 1)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, 3, padding=1)  # type: ignore[no-untyped-call]
    return layer
