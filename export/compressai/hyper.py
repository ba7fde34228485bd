"""The hyper-synthesis in whole numbers: symbols of hyper-latents to table rows and means of latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from latentwire.export.compressai.state import Architecture, State
from latentwire.export.compressai.transforms import as_convolution
from latentwire.export.compressai.whole import LEVELS, Floats, Scaled, WholeLayer, fit_layer, scaled_to
from latentwire.export.graph import FLOAT, INT32, Op, Value, flat, integer, number, table, vector

FINEST = 1 << 10
"""Scales are looked up in parts of so many."""
WIDEST = 1 << 18
"""Parts from which on a scale belongs to the last table, as a look-up has an end: 256."""


@dataclass(frozen=True)
class HyperSynthesis:
    """The network.

    Attributes:
        factor: int32 [N], whole numbers that a symbol is multiplied by,
        offset: int32 [N], and what is added for the median;
        bound: int32 [N], and the largest magnitude of what comes out.
        layers: two with a pixel shuffle behind them, and the last, whose first M outputs are scales.
        thresholds: int64 [S - 1], of scales in parts of `FINEST`: how many lie below one is the number of its table.
        means: whether the last layer says means too.
    """

    factor: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int32]
    bound: npt.NDArray[np.int32]
    layers: tuple[WholeLayer, ...]
    thresholds: npt.NDArray[np.int64]
    means: bool

    @property
    def latents(self) -> int:
        """M."""
        return len(self.layers[-1].bias) // (2 if self.means else 1)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is part of the codec id."""
        found = {f"hyper.{key}": getattr(self, key) for key in ("factor", "offset", "bound", "thresholds")}
        for layer in self.layers:
            found |= layer.arrays()
        return found

    def run(self, op: Op, symbols: Value) -> tuple[Value, Value | None]:
        """(Scales in parts of `FINEST`, whole float32, means float32), [1, M, h, w], of int32 [1, h / 4, w / 4, N]."""
        numbers = op.Cast(symbols, to=FLOAT)
        scaled = op.Add(op.Mul(numbers, self.row(op, "factor")), self.row(op, "offset"))
        bound = self.row(op, "bound")
        picture = op.Transpose(op.Max(op.Min(scaled, bound), op.Neg(bound)), perm=integer.CHANNELS_FIRST)
        for layer in self.layers[:-1]:
            picture = op.DepthToSpace(layer.activation(op, picture), blocksize=2, mode="CRD")
        said = self.layers[-1].sums(op, picture)
        if not self.means:
            return op.Floor(op.Mul(said, float(FINEST))), None
        scales, means = op.Split(said, axis=1, num_outputs=2, _outputs=2)
        return op.Floor(op.Mul(scales, float(FINEST))), means

    def row(self, op: Op, key: str) -> Value:
        """One of the vectors, float32 [N]."""
        return table(op, getattr(self, key).astype(np.float32), f"hyper.{key}")

    def tables_of(self, op: Op, parts: Value) -> Value:
        """Number of the table, int32, for scales in parts of `FINEST`, whole float32 of any shape."""
        ones = op.Expand(vector(op, [1]), vector(op, [len(self.thresholds)]))
        marks = op.Expand(vector(op, [0]), vector(op, [WIDEST]))
        begun = op.ScatterElements(marks, table(op, self.thresholds, "hyper.thresholds"), ones, axis=0, reduction="add")
        numbers = op.Cast(op.CumSum(begun, number(op, 0)), to=INT32)
        place = op.Cast(op.Clip(parts, 0.0, float(WIDEST - 1)), to=INT32)
        return op.Reshape(op.GatherElements(numbers, flat(op, place)), op.Shape(place))  # type: ignore[no-any-return]


def fit_hyper(state: State, architecture: Architecture, symbols: Sequence[npt.NDArray[Any]]) -> HyperSynthesis:
    """The state's hyper-synthesis, scaled to hyper-latents [N, h, w] as calibration pictures have them.

    Args:
        state: the model's.
        architecture: which network it is.
        symbols: of each picture.
    """
    medians = state.medians().astype(np.float64)
    restored = [torch.tensor(found + medians[:, None, None]).float()[None] for found in symbols]
    seen = largest_of(state, restored, leaky=architecture.means)
    factor = np.maximum(np.floor(LEVELS / np.maximum(seen[0], 1e-3)), 1).clip(max=LEVELS)
    scaled = scaled_to(seen[0], 1 / factor)
    offset = np.rint(medians * factor)
    layers: list[WholeLayer] = []
    given: Scaled = scaled
    for at, key in enumerate(("h_s.0", "h_s.2", "h_s.4")):
        weight, bias = (state.array(f"{key}.{part}").astype(np.float64) for part in ("weight", "bias"))
        last = at == 2
        if not last:
            weight, bias = as_convolution(weight), np.repeat(bias, 4)
        largest: Floats | None = None if last else np.repeat(seen[at + 1], 4)
        layer, given = fit_layer(
            f"hyper.{at}", weight, bias, given, largest, leaky=architecture.means, together=1 if last else 4
        )
        layers.append(layer)
    table_of_scales = state.floats("gaussian_conditional.scale_table").astype(np.float64)
    thresholds = np.floor(table_of_scales[:-1] * FINEST + 0.5).astype(np.int64).clip(0, WIDEST - 1)
    return HyperSynthesis(
        factor.astype(np.int32),
        offset.astype(np.int32),
        scaled.bound.astype(np.int32),
        tuple(layers),
        thresholds,
        architecture.means,
    )


@torch.no_grad()
def largest_of(state: State, pictures: Sequence[torch.Tensor], *, leaky: bool) -> list[Floats]:
    """Largest magnitude of each channel of hyper-latents [1, N, h, w], and behind each activation."""
    found: list[list[torch.Tensor]] = [[], [], []]
    for picture in pictures:
        found[0].append(picture)
        for at, key in ((1, "h_s.0"), (2, "h_s.2")):
            weight, bias = (torch.tensor(state.floats(f"{key}.{part}")) for part in ("weight", "bias"))
            made = F.conv_transpose2d(picture, weight, bias, stride=2, padding=2, output_padding=1)
            picture = F.leaky_relu(made, 0.01) if leaky else F.relu(made)
            found[at].append(picture)
    return [
        torch.stack([picture.abs().amax((0, 2, 3)) for picture in pictures]).amax(0).double().numpy()
        for pictures in found
    ]
