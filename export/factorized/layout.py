"""How a kind of data and its latents are laid out for a codec of a static probability model, one small object each.

A layout says what the encoder takes and the decoder returns (contract), how that maps to the networks' floats, and
how latents are laid out as rows [P, C] of P positions and C channels. The latent stack, the packet and the assembly
never ask which one they serve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from latentwire.export.graph import Op, Value
from latentwire.runtime.contract import ItemContract, dtype_range
from latentwire.runtime.wire import Limits

MAX_ITEMS = 65535
ITEM_LIMITS = Limits((MAX_ITEMS,))
RANGE_MARGIN = 0.05
"""Part of the span of calibration data that a range of floats is wider on each side: a sensor's next day is never quite
inside of its last one."""


class Family(Protocol):
    """The seam between a kind of data and the codec of a static probability model."""

    @property
    def name(self) -> str:
        """The family's name in manifests and metadata."""

    @property
    def contract(self) -> ItemContract:
        """dtype, shape and range of the encoder's input and the decoder's output."""

    @property
    def size_axes(self) -> tuple[int, ...]:
        """Axes of the input whose lengths the packet carries."""

    @property
    def limits(self) -> Limits:
        """Which lengths of those axes are accepted."""

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """Shape of the latents as the transforms see them."""

    def normalize(self, items: torch.Tensor) -> torch.Tensor:
        """Items as they arrive -> the analysis transform's float input."""

    def scale(self, output: torch.Tensor) -> torch.Tensor:
        """The synthesis transform's float output -> the contract's units, clipped to its range, not yet rounded."""

    def rows(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents -> [P, C] in torch."""

    def to_rows(self, op: Op, latents: Value) -> Value:
        """Latents -> float32 [P, C] in the graph."""

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """The inverse of `to_rows`; ``size`` is int64 [d]."""

    def positions(self, op: Op, size: Value) -> Value:
        """P as an int64 scalar from ``size`` int64 [d]."""


@dataclass(frozen=True)
class Dense:
    """Vectors [N, D]; latents [N, C] are rows already."""

    contract: ItemContract
    channels: int
    network_range: tuple[float, float] | None = (0.0, 1.0)
    """Where the contract's range is mapped for the networks; None hands the values over as they are."""
    name: str = "dense"
    size_axes: tuple[int, ...] = (0,)
    limits: Limits = ITEM_LIMITS

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """[items, C]."""
        return ("items", self.channels)

    def widened(self, margin: float = RANGE_MARGIN) -> Dense:
        """The same for a range of floats that is wider on each side by a part of its span; integers stay as they are.

        Values that were inside mean the same to the networks. What is outside of what they were trained on is taken,
        and comes back as well as they can make it.
        """
        low, high = self.contract.range
        if self.contract.dtype != "float32" or not margin:
            return self
        least, most = dtype_range(self.contract.dtype)
        wide = max(low - margin * (high - low), least), min(high + margin * (high - low), most)
        seen = self.network_range
        if seen is not None:
            scale = (seen[1] - seen[0]) / (high - low)
            seen = seen[0] - (low - wide[0]) * scale, seen[1] + (wide[1] - high) * scale
        return replace(self, contract=replace(self.contract, range=wide), network_range=seen)

    def normalize(self, items: torch.Tensor) -> torch.Tensor:
        """[N, D] of the contract's dtype -> float32 [N, D]."""
        values = items.to(torch.float32)
        if self.network_range is None:
            return values
        (low, high), (bottom, top) = self.contract.range, self.network_range
        scale = (top - bottom) / (high - low)
        offset = bottom - low * scale
        return values * scale + offset if offset else values * scale

    def scale(self, output: torch.Tensor) -> torch.Tensor:
        """The networks' float32 output -> the contract's units, clipped to its range."""
        low, high = self.contract.range
        values = output
        if self.network_range is not None:
            bottom, top = self.network_range
            scale = (high - low) / (top - bottom)
            values = (output - bottom) * scale + low if bottom or low else output * scale
        return torch.clamp(values, low, high)

    def rows(self, latents: torch.Tensor) -> torch.Tensor:
        """[N, C] -> [N, C]."""
        return latents

    def to_rows(self, op: Op, latents: Value) -> Value:
        """[N, C] -> [N, C]."""
        return latents

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """[N, C] -> [N, C]."""
        return rows

    def positions(self, op: Op, size: Value) -> Value:
        """N."""
        return op.Squeeze(size, [0])  # type: ignore[no-any-return]
