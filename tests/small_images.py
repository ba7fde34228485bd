"""A small image network with weights of every kind, and pictures for it: made, not trained."""

from __future__ import annotations

import numpy as np
import torch

from latentwire.train.image.network import ImageNetwork

LAMBDAS = [0.002, 0.02, 0.2]


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth shapes, an edge and a little noise: uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(
        rng.normal(0, 18, channels) * np.sin(x[..., None] / rng.uniform(4, 60) + y[..., None] / rng.uniform(4, 60) + k)
        for k in range(6)
    )
    edge = 60 * ((x + 2 * y) % 90 > 45)[..., None]
    values = 110 + waves + edge + rng.normal(0, 3, (height, width, channels))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def small_network(seed: int = 0) -> ImageNetwork:
    """KLT bases of pictures like these; every other layer random, so that means, contexts and rows all vary."""
    torch.manual_seed(seed)
    network = ImageNetwork(LAMBDAS, hyper=16, width=16)
    pictures = np.stack([picture(128, 128, seed=k) for k in range(12)])
    network.warm_start(torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255 - 0.5)
    with torch.no_grad():
        network.hyper_analysis.net[-1].weight.normal_(0, 0.2)
        for name, parameter in network.named_parameters():
            if "head" in name or name.startswith(("analysis.net.4", "synthesis.net.6")) or "level_bias" in name:
                parameter.copy_(torch.randn_like(parameter) * (0.05 if "head" in name else 0.01))
    return network.eval().requires_grad_(False)
