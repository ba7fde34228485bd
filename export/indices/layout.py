"""How items and their maps of indices are laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from latentwire.export.factorized import Tensors
from latentwire.export.graph import Op, Value
from latentwire.runtime.wire import MAX_STEPS, MOST_LANES, Limits

NAME = "indices"
ELEMENTS = 3
"""What one index is coded in at most: its column, and where it is rare its group and its member."""


@dataclass(frozen=True)
class Indexed:
    """Items [N, ...] of any shape; of each a map of indices [R, P...], R planes.

    Attributes:
        items: contract and scaling of the items.
        shape: [R, P...].
    """

    items: Tensors
    shape: tuple[int, ...]
    name: str = NAME
    size_axes: tuple[int, ...] = (0,)

    @property
    def contract(self) -> Any:
        """Of the items."""
        return self.items.contract

    @property
    def sites(self) -> int:
        """Indices of an item."""
        return math.prod(self.shape)

    @property
    def limits(self) -> Limits:
        """As many as items of any kind, and no more than all lanes decode in the steps that there may be."""
        most = self.items.limits.size[0]
        largest = max(most) if isinstance(most, tuple) else most
        return Limits((max(1, min(largest, MAX_STEPS * MOST_LANES // (ELEMENTS * self.sites))),))

    @property
    def latent_shape(self) -> tuple[int | str, ...]:
        """[items, R, P...], also of a single plane."""
        return ("items", *self.shape)

    def normalize(self, items: Any) -> Any:
        """See `Tensors`."""
        return self.items.normalize(items)

    def scale(self, output: Any) -> Any:
        """See `Tensors`."""
        return self.items.scale(output)

    def rows(self, latents: Any) -> Any:
        """[N, R, P...] -> [N, sites]."""
        return latents.reshape(-1, self.sites)

    def to_rows(self, op: Op, latents: Value) -> Value:
        """[N, R, P...] -> [N, sites]."""
        return op.Reshape(latents, [-1, self.sites])  # type: ignore[no-any-return]

    def from_rows(self, op: Op, rows: Value, size: Value) -> Value:
        """[N, sites] -> [N, R, P...]."""
        return op.Reshape(rows, [-1, *self.shape])  # type: ignore[no-any-return]

    def positions(self, op: Op, size: Value) -> Value:
        """N."""
        return op.Squeeze(size, [0])  # type: ignore[no-any-return]
