"""Halves in torch whose latents are maps of indices [N, R, P...] as float32, around those that somebody gave."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from latentwire.export.transforms import Half


@dataclass(frozen=True)
class Axes:
    """Where an encoder's output has its items and planes.

    Attributes:
        items: axis of the items.
        planes: axis of the planes; None where there is no such axis.
    """

    items: int = 0
    planes: int | None = None

    def first(self, rank: int) -> list[int]:
        """Order of axes that puts items and planes in front."""
        front = [self.items] if self.planes is None else [self.items, self.planes]
        return [*front, *(axis for axis in range(rank) if axis not in front)]

    def into(self, indices: torch.Tensor) -> torch.Tensor:
        """As the encoder has them -> [N, R, P...]."""
        moved = indices.permute(self.first(indices.ndim))
        return moved.unsqueeze(1) if self.planes is None else moved

    def back(self, indices: torch.Tensor) -> torch.Tensor:
        """[N, R, P...] -> as the encoder has them."""
        moved = indices.squeeze(1) if self.planes is None else indices
        order = self.first(moved.ndim)
        return moved.permute([order.index(axis) for axis in range(moved.ndim)])


class IndexEncoder(nn.Module):
    """An encoder that returns integers."""

    def __init__(self, network: nn.Module, axes: Axes) -> None:
        super().__init__()
        self.network, self.axes = network, axes

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Float32 [N, ...] -> indices as float32 [N, R, P...]."""
        return self.axes.into(self.network(values)).float()

    def in_half(self) -> IndexEncoder:
        """The same with its network in half precision; indices are whole numbers of any size before and after."""
        return IndexEncoder(HalfFrom(self.network), self.axes)


class IndexDecoder(nn.Module):
    """A decoder that takes integers as the encoder returns them."""

    def __init__(self, network: nn.Module, axes: Axes) -> None:
        super().__init__()
        self.network, self.axes = network, axes

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Indices as float32 [N, R, P...] -> float32 [N, ...]."""
        return self.network(self.axes.back(latents.long()))  # type: ignore[no-any-return]

    def in_half(self) -> IndexDecoder:
        """The same with its network in half precision."""
        return IndexDecoder(HalfOfWhole(self.network), self.axes)


class VectorDecoder(nn.Module):
    """A decoder that takes the sum of the chosen vectors of all planes that are sent."""

    codebooks: torch.Tensor

    def __init__(self, network: nn.Module, codebooks: torch.Tensor, *, channels_last: bool) -> None:
        """Takes float32 [R, K, D]."""
        super().__init__()
        self.network, self.channels_last = network, channels_last
        # An index of -1 stands for a plane that is not sent: it adds nothing.
        self.register_buffer("codebooks", nn.functional.pad(codebooks, (0, 0, 1, 0)))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Indices as float32 [N, R, P...] -> float32 [N, ...]."""
        return self.network(self.vectors(latents))  # type: ignore[no-any-return]

    def vectors(self, latents: torch.Tensor) -> torch.Tensor:
        """[N, P..., D] or [N, D, P...]."""
        places = latents.long() + 1
        found = nn.functional.embedding(places[:, 0], self.codebooks[0])
        for plane in range(1, len(self.codebooks)):
            found = found + nn.functional.embedding(places[:, plane], self.codebooks[plane])
        return found if self.channels_last else found.movedim(-1, 1)

    def in_half(self) -> VectorDecoder:
        """The same with its network in half precision; the vectors stay as they are."""
        found = VectorDecoder(Half(self.network), self.codebooks[:, 1:], channels_last=self.channels_last)
        return found


class HalfFrom(nn.Module):
    """A network in half precision from float32 to integers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Float32 -> integers."""
        return self.network(values.half())  # type: ignore[no-any-return]


class HalfOfWhole(nn.Module):
    """A network in half precision from integers to float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Integers -> float32."""
        return self.network(indices).float()  # type: ignore[no-any-return]
