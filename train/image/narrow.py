"""Weights of a wider encoder for a narrower one: the channels that say the most are kept.

What is lost is for training to make up, which is far less than a start from the KLT has to learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

HIDDEN = 2
"""Channels inside a block, for each channel outside."""
SHUFFLED = 4
"""Rows that a pixel shuffle makes one channel of."""


class Place(NamedTuple):
    """Where channels lie in a tensor: along `axis` from channel `start` on, `rows` entries for each of them."""

    name: str
    axis: int
    start: int = 0
    rows: int = 1

    def narrowed(self, value: Tensor, kept: Tensor, count: int) -> Tensor:
        """The tensor without those of its `count` channels that are not among `kept`."""
        entries = (self.start + kept)[:, None] * self.rows + torch.arange(self.rows)
        before, own = self.start * self.rows, count * self.rows
        after = torch.arange(before + own, value.shape[self.axis])
        return value.index_select(self.axis, torch.cat([torch.arange(before), entries.flatten(), after]))

    def energy(self, value: Tensor, count: int) -> Tensor:
        """Sum of the squares of each of the `count` channels."""
        own = value.movedim(self.axis, 0)[self.start * self.rows : (self.start + count) * self.rows]
        return own.reshape(count, -1).square().sum(1)


def narrowed(weights: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """Weights of an image network whose encoder has a smaller width.

    A channel counts by what is written to it times what is read from it: the squares of the weights of both sides.
    """
    found = {name: value.float() for name, value in weights.items()}
    before = len(found["analysis.first.weight"])
    for share, places in _channels(before, _stages(found)):
        count = before * share
        kept = (_energy(found, places, 0, count) * _energy(found, places, 1, count)).topk(width * share).indices
        for place in places:
            found[place.name] = place.narrowed(found[place.name], kept.sort().values, count)
    return found


def _energy(weights: Mapping[str, Tensor], places: Sequence[Place], axis: int, count: int) -> Tensor:
    """What is written to each of `count` channels (axis 0) or read from it (axis 1), over all matrices."""
    matrices = (place for place in places if place.axis == axis and _mixes(place))
    return torch.stack([place.energy(weights[place.name], count) for place in matrices]).sum(0)


def _stages(weights: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("prior.stages.") and name.endswith(".hidden.weight") for name in weights)


def _mixes(place: Place) -> bool:
    """Whether it is a matrix between channels; biases and depthwise kernels go with a channel wherever it goes."""
    return place.name.endswith(".weight") and not place.name.endswith(".spatial.weight")


def _channels(width: int, stages: int) -> Iterator[tuple[int, list[Place]]]:
    """Channels that are kept or left out together: how many widths they are, and where they lie."""
    yield (
        1,
        [*_written("analysis.first"), Place("analysis.level_bias", 1), *_stream(0), Place("analysis.net.1.weight", 1)],
    )
    yield 2, [*_written("analysis.net.1"), *_stream(2), *_stream(3), Place("analysis.net.4.weight", 1)]
    for block, share in ((0, 1), (2, 2), (3, 2)):
        inside = f"analysis.net.{block}"
        yield HIDDEN * share, [*_written(f"{inside}.expand"), Place(f"{inside}.project.weight", 1)]
    for layer in (0, 2):
        yield 1, [*_written(f"hyper_analysis.net.{layer}"), Place(f"hyper_analysis.net.{layer + 2}.weight", 1)]
    yield 1, [*_written("prior.expand.0", SHUFFLED), Place("prior.expand.1.weight", 1)]
    each = [f"prior.stages.{stage}" for stage in range(stages)]
    yield (
        1,
        [
            *_written("prior.expand.1", SHUFFLED),
            *(Place(f"{stage}.hidden.weight", 1) for stage in each),
            *(Place(f"{stage}.head.weight", 1, width) for stage in each),
        ],
    )
    for stage in each:
        yield 1, [*_written(f"{stage}.hidden"), Place(f"{stage}.head.weight", 1)]


def _written(layer: str, rows: int = 1) -> list[Place]:
    return [Place(f"{layer}.weight", 0, 0, rows), Place(f"{layer}.bias", 0, 0, rows)]


def _stream(block: int) -> list[Place]:
    """What a block of the analysis reads from, and adds to, the channels outside it."""
    inside = f"analysis.net.{block}"
    return [
        *_written(f"{inside}.spatial"),
        Place(f"{inside}.expand.weight", 1),
        *_written(f"{inside}.project"),
    ]
