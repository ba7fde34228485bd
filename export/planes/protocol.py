"""What a codec with a probability model of its own says of itself: the protocol.

A picture's latents are planes of whole numbers, sent one after the other. Before a plane is sent, everything that
encoder and decoder both know (quality, size, the planes before it) says which row of a frequency table each of its
symbols is coded with, and what is to be subtracted from it first. Then the symbols are sent. That is all: a
hyperprior is two planes, context within a plane is more of them.

    plane 0     rows and means by quality alone                            -> symbols
    plane 1     rows and means by quality and the symbols of plane 0       -> symbols
    ...

Two things a model must do in whole numbers, since a decoder that finds another row reads another packet: rows, and
whatever rows of later planes are made of. Floats that hold whole numbers below 2^24 are whole numbers
(`latentwire.export.graph.integer`). Where it may use floats as it likes: `quantize`, which only the encoder runs, and
`restore`, whose result only the synthesis transform sees.

All pictures here are [1, h, w, C]; latents, which transforms give and take, are [1, C, h, w].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from latentwire.export.graph import BOOL, Op, Value, table, vector
from latentwire.export.planes.book import Book


@dataclass(frozen=True)
class Plane:
    """A picture of whole numbers that is sent at once.

    Attributes:
        name: for people.
        channels: of each position.
        stride: pixels of the input that one position stands for, each way.
        always: every element is coded, at every quality: no row of it is the certain one.
    """

    name: str
    channels: int
    stride: int
    always: bool = True


@dataclass(frozen=True)
class Prediction:
    """What is known of a plane before its symbols are.

    Attributes:
        rows: int32 [1, h, w, C], rows of the book; 0 where nothing is coded and the symbol is 0.
        mean: float32 [1, h, w, C], what is subtracted from a latent before it is rounded; None for nothing. Where later
            rows depend on it, a whole number over a power of two.
    """

    rows: Value
    mean: Value | None = None


@dataclass
class Known:
    """What encoder and decoder both know.

    Attributes:
        quality: int64 scalar.
        blocks: how many blocks the picture has, down and across, int64 [1] each.
        block: pixels of a block, each way.
        predictions: of the planes until now, this one's included once it is made.
        symbols: int32 [1, h, w, C] of each plane that was sent.
        notes: whatever a model keeps from one plane for the next.
    """

    quality: Value
    blocks: tuple[Value, Value]
    block: int
    predictions: list[Prediction] = field(default_factory=list)
    symbols: list[Value] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def shape(self, op: Op, plane: Plane) -> Value:
        """[1, h, w, C] of a plane, int64 [4]."""
        height, width = (op.Mul(count, self.block // plane.stride) for count in self.blocks)
        return op.Concat(vector(op, [1]), height, width, vector(op, [plane.channels]), axis=0)  # type: ignore[no-any-return]


class PlaneModel(Protocol):
    """A probability model, and how symbols are made of latents and the other way round."""

    @property
    def family(self) -> str:
        """The word that a codec's files have for its family; other models may share it."""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """In the order in which they are sent."""

    @property
    def block(self) -> int:
        """Pixels, each way, to a multiple of which pictures are padded; all strides divide it."""

    @property
    def latents(self) -> int:
        """Channels of what `restore` makes."""

    @property
    def book(self) -> Book:
        """All rows."""

    def predict(self, op: Op, at: int, known: Known) -> Prediction:
        """Rows and means of plane ``at``; in whole numbers."""

    def quantize(self, op: Op, at: int, latent: Value, found: Prediction, known: Known) -> Value:
        """Symbols, whole float32 [1, h, w, C], of a plane's latents float32 [1, h, w, C]. The encoder's alone."""

    def restore(self, op: Op, known: Known) -> Value:
        """What the synthesis transform takes, float32 [1, h, w, C], once all symbols are known."""

    def least_rows(self, quality: int) -> tuple[tuple[int, ...], ...]:
        """For each plane that is `Plane.always` coded the rows of its channels, if they are the same everywhere.

        An empty tuple for any other plane. By these a decoder knows what a packet must hold at least.
        """

    def contract(self) -> Mapping[str, npt.NDArray[Any]]:
        """Everything that `predict` goes by, and what `restore` must agree on; hashed to the codec id with the book."""


def round_to_symbols(op: Op, latent: Value, found: Prediction) -> Value:
    """What most models do: the nearest whole number to a latent less its mean, halves to even."""
    return op.Round(latent if found.mean is None else op.Sub(latent, found.mean))  # type: ignore[no-any-return]


def everywhere(op: Op, rows: npt.NDArray[Any], plane: Plane, known: Known, name: str) -> Value:
    """Rows int32 [C] of a plane, the same at each position."""
    return op.Expand(table(op, rows.astype("int32"), name), known.shape(op, plane))  # type: ignore[no-any-return]


def coded(op: Op, rows: Value) -> Value:
    """Where anything is coded, bool."""
    return op.Cast(rows, to=BOOL)  # type: ignore[no-any-return]
