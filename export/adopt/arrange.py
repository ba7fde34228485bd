"""Items whose axes are not where the networks want them: pictures [N, H, W, 3] of which a network takes [N, 3, H, W].

The contract keeps the items as they are; their order for the networks becomes part of the transforms. Only what the
networks refuse as it stands is arranged, and only in a way that both halves then take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latentwire.runtime.contract import Array

MOST_CHANNELS = 16


@dataclass(frozen=True)
class Arrangement:
    """How items [N, ...] are handed to the encoder, and what the decoder returns handed back.

    Args:
        order: of the axes, as `numpy.transpose` takes it; nothing to leave it.
        shape: shape [...] of one item after that.
        said: for the report.
    """

    order: tuple[int, ...]
    shape: tuple[int, ...]
    said: str

    def into(self, items: Array) -> Array:
        """[N, ...] -> as the networks take them."""
        moved = items.transpose(self.order) if self.order else items
        return np.ascontiguousarray(moved.reshape(len(items), *self.shape))

    @property
    def inverse(self) -> tuple[int, ...]:
        """The order of axes that undoes ``order``."""
        return tuple(int(axis) for axis in np.argsort(self.order))


def arrangements(shape: tuple[int, ...]) -> Iterator[Arrangement]:
    """Ways to hand over items of shape [...], the least surprising first."""
    if len(shape) > 1 and shape[-1] <= MOST_CHANNELS:
        order = (0, len(shape), *range(1, len(shape)))
        yield Arrangement(order, (shape[-1], *shape[:-1]), "items: channels first for the networks")
    if len(shape) in (1, 2):
        yield Arrangement((), (1, *shape), "items: with an axis of one channel for the networks")
    if len(shape) > 1 and shape[0] <= MOST_CHANNELS:
        order = (0, *range(2, len(shape) + 1), 1)
        yield Arrangement(order, (*shape[1:], shape[0]), "items: channels last for the networks")
    if len(shape) > 1:
        yield Arrangement((), (int(np.prod(shape)),), "items: flattened for the networks")
