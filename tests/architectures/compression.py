"""Autoencoders of learned compression."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gdn(nn.Module):
    """Generalized divisive normalization (Ballé et al., 2016), or its inverse."""

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gamma.abs()[:, :, None, None]
        norm = torch.sqrt(F.conv2d(x * x, weight, self.beta.abs() + 1e-6))
        return x * norm if self.inverse else x / norm


class GdnCompressor(nn.Module):
    """g_a and g_s of learned image compression, [N, 3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.g_a = nn.Sequential(nn.Conv2d(3, 12, 5, 2, 2), Gdn(12), nn.Conv2d(12, 8, 5, 2, 2))
        self.g_s = nn.Sequential(
            nn.ConvTranspose2d(8, 12, 5, 2, 2, output_padding=1),
            Gdn(12, inverse=True),
            nn.ConvTranspose2d(12, 3, 5, 2, 2, output_padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.g_s(self.g_a(x))
