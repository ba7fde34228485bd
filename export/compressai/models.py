"""CompressAI's probability models by the protocol of `latentwire.export.planes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.compressai.hyper import FINEST, WIDEST, HyperSynthesis
from latentwire.export.compressai.state import Floats, State
from latentwire.export.compressai.transforms import STRIDE
from latentwire.export.errors import ExportError
from latentwire.export.graph import FLOAT, INT64, Op, Value, integer, table
from latentwire.export.planes import BLOCK, Book, Known, Plane, Prediction, everywhere, round_to_symbols
from latentwire.runtime.contract import QUALITIES

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


KNOTS = (0, 36, 73, 109, 146, 182, 219, 255)
"""Qualities of CompressAI's eight levels; between two the gain's logarithm moves evenly."""
GAIN_UNIT = 1 << 12
"""Gains that select rows are counted in such parts."""
SMALLEST_SCALE = 0.11


@dataclass(frozen=True)
class Variable(Hyperprior):
    """A hyperprior whose latents, means and scales are multiplied by a gain, which quality selects."""

    @cached_property
    def gains(self) -> Floats:
        """By quality, [256]."""
        levels = np.abs(self.state.floats("Gain").astype(np.float64))
        if len(levels) != len(KNOTS):
            raise ExportError(
                f"{self.state.name}: expected {len(KNOTS)} gains, found {len(levels)}: is it of this kind?"
            )
        return np.exp(np.interp(np.arange(QUALITIES), KNOTS, np.log(levels))).astype(np.float32)

    @property
    def whole_gains(self) -> npt.NDArray[np.int64]:
        """The same in parts of `GAIN_UNIT`."""
        return np.rint(self.gains.astype(np.float64) * GAIN_UNIT).astype(np.int64)

    def predict(self, op: Op, at: int, known: Known) -> Prediction:
        """Hyper-latents are the same everywhere; latents go by them and by quality."""
        if at == 0:
            known.notes["gain"] = op.Gather(table(op, self.gains, "gains"), known.quality)
            return super().predict(op, at, known)
        parts, means = self.synthesis.run(op, known.symbols[0])
        gain = op.Gather(table(op, self.whole_gains, "whole_gains"), known.quality)
        scaled = op.Div(op.Mul(op.Cast(op.Clip(parts, 0.0, float(WIDEST)), to=INT64), gain), GAIN_UNIT)
        rows = op.Add(self.synthesis.tables_of(op, op.Cast(scaled, to=FLOAT)), len(self.medians) + 1)
        known.notes["scales"] = op.Mul(last(op, op.Cast(scaled, to=FLOAT)), 1 / FINEST)
        known.notes["means"] = None if means is None else last(op, means)
        mean = None if means is None else op.Mul(known.notes["means"], known.notes["gain"])
        return Prediction(last(op, rows), mean)

    def quantize(self, op: Op, at: int, latent: Value, found: Prediction, known: Known) -> Value:
        """As ``compress`` does."""
        return round_to_symbols(op, latent if at == 0 else op.Mul(latent, known.notes["gain"]), found)

    def restore(self, op: Op, known: Known) -> Value:
        """Symbols moved towards 0 as the model's small network says, over the gain, and means."""
        gain, symbols = known.notes["gain"], op.Cast(known.symbols[1], to=FLOAT)
        scales = op.Unsqueeze(op.Max(known.notes["scales"], SMALLEST_SCALE), [-1])
        seen = op.Concat(scales, op.Expand(gain, op.Shape(scales)), axis=-1)
        for layer in (0, 2, 4):
            weight, bias = (self.state.floats(f"QuantABCD.{layer}.{part}") for part in ("weight", "bias"))
            product = op.MatMul(seen, table(op, np.ascontiguousarray(weight.T), f"offsets.{layer}.weight"))
            seen = op.Add(product, table(op, bias, f"offsets.{layer}.bias"))
            seen = op.Relu(seen) if layer < 4 else seen
        moved = op.Sub(symbols, op.Mul(op.Sign(symbols), op.Squeeze(seen, [-1])))
        restored = op.Div(moved, gain)
        means = known.notes["means"]
        return restored if means is None else op.Add(restored, means)  # type: ignore[no-any-return]

    def contract(self) -> Mapping[str, npt.NDArray[Any]]:
        """Gains too."""
        return {**super().contract(), "gains": self.gains, "whole_gains": self.whole_gains}


def last(op: Op, picture: Value) -> Value:
    """[1, C, h, w] to [1, h, w, C]."""
    return op.Transpose(picture, perm=integer.CHANNELS_LAST)  # type: ignore[no-any-return]
