"""Two convolutions, and how windows and latents are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from latentwire.runtime import ItemContract, Limits
from latentwire_windows import NAME

LATENTS, STRIDE = 8, 4
MANY = Limits((65535,))


class Encoder(nn.Module):
    """[N, T, C] -> [N, L, T / 4]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(channels, LATENTS, STRIDE, STRIDE)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layer(windows.transpose(1, 2))


class Decoder(nn.Module):
    """[N, L, T / 4] -> [N, T, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.ConvTranspose1d(LATENTS, channels, STRIDE, STRIDE)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.layer(latents).transpose(1, 2)


def pair(channels: int) -> tuple[Encoder, Decoder]:
    """Networks for windows of that many channels."""
    torch.manual_seed(0)
    return Encoder(channels), Decoder(channels)


def fit(encoder: nn.Module, decoder: nn.Module, items: np.ndarray, steps: int) -> float:
    """Train both; returns the last loss."""
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
    windows, generator = torch.tensor(items), torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = windows[torch.randint(0, len(windows), (256,), generator=generator)]
        loss = (decoder(encoder(batch)) - batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss)


@dataclass(frozen=True)
class Layout:
    """The seam to the codec: see `latentwire.export.Family`."""

    contract: ItemContract
    name: str = NAME
    size_axes: tuple[int, ...] = (0,)
    limits: Limits = MANY

    @property
    def positions_per_window(self) -> int:
        return self.contract.shape[1] // STRIDE

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        return ("items", LATENTS, self.positions_per_window)

    def normalize(self, items: torch.Tensor) -> torch.Tensor:
        return items.to(torch.float32)

    def scale(self, output: torch.Tensor) -> torch.Tensor:
        return torch.clamp(output, *self.contract.range)

    def rows(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.transpose(1, 2).reshape(-1, LATENTS)

    def to_rows(self, op: Any, latents: Any) -> Any:
        return op.Reshape(op.Transpose(latents, perm=[0, 2, 1]), [-1, LATENTS])

    def from_rows(self, op: Any, rows: Any, size: Any) -> Any:
        return op.Transpose(op.Reshape(rows, [-1, self.positions_per_window, LATENTS]), perm=[0, 2, 1])

    def positions(self, op: Any, size: Any) -> Any:
        return op.Mul(op.Squeeze(size, [0]), self.positions_per_window)
