"""CompressAI's probability models by the protocol of `latentwire.export.planes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.compressai.state import Floats, State
from latentwire.export.compressai.transforms import BLOCK, STRIDE
from latentwire.export.graph import FLOAT, Op, Value, table
from latentwire.export.planes import Book, Known, Plane, Prediction, everywhere, round_to_symbols

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
