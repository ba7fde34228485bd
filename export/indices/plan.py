"""Orders in which the positions of one plane may be coded, and which others each one's table row may go by.

All sites of a stage are decoded at once, so a site's sources must be of earlier stages: rows in raster order would
leave one site at a time. Halves and quarters leave most sites several neighbours on all sides instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentwire.export.indices.tables import Whole


@dataclass(frozen=True)
class Step:
    """Positions of one plane that are coded at once.

    Attributes:
        positions: int64 [n], rising.
        sources: int64 [M, n], positions in the same plane that were coded before, -1 for none.
        above: whether the same position of the plane before is a source too, the first one.
    """

    positions: Whole
    sources: Whole
    above: bool = False


@dataclass(frozen=True)
class Plan:
    """All positions of a plane, in steps."""

    name: str
    steps: tuple[Step, ...]


def plans(shape: tuple[int, ...], *, first: bool) -> list[Plan]:
    """What may be tried for a plane [P...]; the first one has no sources.

    Args:
        shape: lengths of the axes of its positions.
        first: whether no plane is before it.
    """
    everything = np.arange(int(np.prod(shape)), dtype=np.int64)
    alone = no_sources(everything)
    found = [Plan("each position alone", (alone,))]
    if not first:
        found.append(Plan("the plane before", (Step(everything, alone.sources, above=True),)))
    axes = [axis for axis, length in enumerate(shape) if length > 2]
    if axes:
        found.append(Plan("halves", halves(shape, axes[-2:])))
        found.append(Plan("quarters", quarters(shape, axes[-2:])))
    return found


def no_sources(positions: Whole) -> Step:
    """Coded by position alone."""
    return Step(positions, np.zeros((0, len(positions)), np.int64))


def halves(shape: tuple[int, ...], axes: list[int]) -> tuple[Step, ...]:
    """The black squares of a chessboard, then the white ones, between their neighbours."""
    odd = sum(np.indices(shape)[axis] for axis in axes) % 2 == 1
    return no_sources(where(~odd)), neighbours(shape, odd, straight(len(shape), axes, 1))


def quarters(shape: tuple[int, ...], axes: list[int]) -> tuple[Step, ...]:
    """A coarse grid, what lies in the middle of its cells, then all else; along one axis every fourth, second, rest."""
    grid = np.indices(shape)
    if len(axes) == 1:
        at = grid[axes[0]]
        far, near = straight(len(shape), axes, 2), straight(len(shape), axes, 1)
        middle = neighbours(shape, at % 4 == 2, far)
        return no_sources(where(at % 4 == 0)), middle, neighbours(shape, at % 2 == 1, near)
    row, column = (grid[axis] % 2 for axis in axes)
    middle = neighbours(shape, (row == 1) & (column == 1), diagonal(len(shape), axes))
    return (
        no_sources(where((row == 0) & (column == 0))),
        middle,
        neighbours(shape, row != column, straight(len(shape), axes, 1)),
    )


def straight(rank: int, axes: list[int], distance: int) -> Whole:
    """Offsets [M, rank] to both sides along each axis."""
    found = np.zeros((2 * len(axes), rank), np.int64)
    for number, axis in enumerate(axes):
        found[2 * number : 2 * number + 2, axis] = -distance, distance
    return found


def diagonal(rank: int, axes: list[int]) -> Whole:
    """Offsets [4, rank] to the corners of a cell."""
    found = np.zeros((4, rank), np.int64)
    found[:, axes[0]], found[:, axes[1]] = (-1, -1, 1, 1), (-1, 1, -1, 1)
    return found


def neighbours(shape: tuple[int, ...], mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], offsets: Whole) -> Step:
    """Positions where ``mask`` is set, with those at offsets [M, rank] as sources."""
    positions = where(mask)
    places = np.stack(np.unravel_index(positions, shape), 1) + offsets[:, None]
    inside = ((places >= 0) & (places < shape)).all(2)
    clipped = np.clip(places, 0, np.asarray(shape) - 1)
    sources = np.ravel_multi_index(tuple(np.moveaxis(clipped, 2, 0)), shape)
    return Step(positions, np.where(inside, sources, -1).astype(np.int64))


def where(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Whole:
    """Places of what is set, int64 [n]."""
    return np.flatnonzero(mask).astype(np.int64)
