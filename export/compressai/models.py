"""CompressAI's probability models by the protocol of `latentwire.export.planes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.compressai.hyper import HyperSynthesis
from latentwire.export.compressai.state import Floats, State
from latentwire.export.compressai.transforms import STRIDE
from latentwire.export.graph import FLOAT, Op, Value, integer, table
from latentwire.export.planes import BLOCK, Book, Known, Plane, Prediction, everywhere, round_to_symbols

FAMILY = "compressai"


@dataclass(frozen=True)
class Factorized:
    """Latents whose channels each have a table.

    Attributes:
        state: the model's.
    """

    state: State
    family: str = FAMILY
    block: int = BLOCK

    @cached_property
    def medians(self) -> Floats:
        """Subtracted before rounding, [M]."""
        return self.state.medians()

    @property
    def latents(self) -> int:
        """M."""
        return len(self.medians)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """One."""
        return (Plane("latents", self.latents, STRIDE),)

    @cached_property
    def book(self) -> Book:
        """A row for each channel."""
        return Book.of(self.state.rows("entropy_bottleneck"))

    @property
    def rows(self) -> npt.NDArray[np.int32]:
        """Of each channel."""
        return np.arange(1, self.latents + 1, dtype=np.int32)

    def predict(self, op: Op, at: int, known: Known) -> Prediction:
        """The same everywhere."""
        (plane,) = self.planes
        return Prediction(everywhere(op, self.rows, plane, known, "rows"), table(op, self.medians, "medians"))

    def quantize(self, op: Op, at: int, latent: Value, found: Prediction, known: Known) -> Value:
        """As ``EntropyBottleneck.compress`` does."""
        return round_to_symbols(op, latent, found)

    def restore(self, op: Op, known: Known) -> Value:
        """Symbols and medians."""
        return op.Add(op.Cast(known.symbols[0], to=FLOAT), known.predictions[0].mean)  # type: ignore[no-any-return]

    def least_rows(self, quality: int) -> tuple[tuple[int, ...], ...]:
        """Those that there are."""
        return (tuple(int(row) for row in self.rows),)

    def contract(self) -> Mapping[str, npt.NDArray[Any]]:
        """Medians."""
        return {"medians": self.medians}


@dataclass(frozen=True)
class Hyperprior:
    """Hyper-latents whose channels each have a table; by these a table, and perhaps a mean, for each latent.

    Attributes:
        state: the model's.
        synthesis: its hyper-synthesis in whole numbers.
    """

    state: State
    synthesis: HyperSynthesis
    family: str = FAMILY
    block: int = BLOCK

    @cached_property
    def medians(self) -> Floats:
        """Subtracted from hyper-latents before rounding, [N]."""
        return self.state.medians()

    @property
    def latents(self) -> int:
        """M."""
        return self.synthesis.latents

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Two."""
        return Plane("hyper-latents", len(self.medians), BLOCK), Plane("latents", self.latents, STRIDE)

    @cached_property
    def book(self) -> Book:
        """A row for each channel of hyper-latents, then one for each scale."""
        return Book.of(self.state.rows("entropy_bottleneck"), self.state.rows("gaussian_conditional"))

    @property
    def hyper_rows(self) -> npt.NDArray[np.int32]:
        """Of each channel of hyper-latents."""
        return np.arange(1, len(self.medians) + 1, dtype=np.int32)

    def predict(self, op: Op, at: int, known: Known) -> Prediction:
        """Hyper-latents are the same everywhere; latents go by them."""
        if at == 0:
            rows = everywhere(op, self.hyper_rows, self.planes[0], known, "rows")
            return Prediction(rows, table(op, self.medians, "medians"))
        parts, means = self.synthesis.run(op, known.symbols[0])
        rows = op.Add(self.synthesis.tables_of(op, parts), len(self.medians) + 1)
        return Prediction(last(op, rows), None if means is None else last(op, means))

    def quantize(self, op: Op, at: int, latent: Value, found: Prediction, known: Known) -> Value:
        """As ``compress`` of both entropy models does."""
        return round_to_symbols(op, latent, found)

    def restore(self, op: Op, known: Known) -> Value:
        """Symbols and means."""
        symbols, means = op.Cast(known.symbols[1], to=FLOAT), known.predictions[1].mean
        return symbols if means is None else op.Add(symbols, means)  # type: ignore[no-any-return]

    def least_rows(self, quality: int) -> tuple[tuple[int, ...], ...]:
        """Those of hyper-latents."""
        return tuple(int(row) for row in self.hyper_rows), ()

    def contract(self) -> Mapping[str, npt.NDArray[Any]]:
        """Medians and the network."""
        return {"medians": self.medians, **self.synthesis.arrays()}


def last(op: Op, picture: Value) -> Value:
    """[1, C, h, w] to [1, h, w, C]."""
    return op.Transpose(picture, perm=integer.CHANNELS_LAST)  # type: ignore[no-any-return]
