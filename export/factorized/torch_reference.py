"""Networks that are torch modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from latentwire.export import measure
from latentwire.export.factorized.grids import cut, whole
from latentwire.export.factorized.layout import Family, wanted
from latentwire.export.factorized.reference import Floats, Reference
from latentwire.export.factorized.transforms import Analysis, Synthesis, to_onnx
from latentwire.export.transforms import Half, freeze
from latentwire.runtime.contract import Array

PROBED = 1024
"""Items that sensitivity is measured on, at most."""
PROBED_AT_ONCE = 1 << 18
"""Values of the items that a gradient is taken of at once: the graph behind them is kept."""


@dataclass(frozen=True)
class TorchReference(Reference):
    """An encoder and a decoder in torch, frozen, with the scaling of a layout around them."""

    family: Family
    encoder: nn.Module
    decoder: nn.Module
    origin: str = "torch"

    @classmethod
    def of(cls, family: Family, encoder: nn.Module, decoder: nn.Module) -> TorchReference:
        """Of an encoder and a decoder, copies of which are frozen.

        Raises:
            ExportError: a parameter is not finite.
        """
        return cls(family, freeze(encoder, "encoder"), freeze(decoder, "decoder"))

    def laid_out(self, family: Family) -> TorchReference:
        """See `Reference`."""
        return replace(self, family=family)

    def in_half(self) -> TorchReference:
        """See `Reference`."""
        return TorchReference(self.family, Half(self.encoder), Half(self.decoder))

    def latents(self, items: Array) -> Floats:
        """See `Reference`."""
        return self._run(Analysis(self.family, self.encoder), whole(self.family, items))

    def output(self, latents: Array, shape: Sequence[int]) -> Floats:
        """See `Reference`."""
        return cut(self.family, self._run(lambda part: self.family.scale(self.decoder(part)), latents), shape)

    def rows(self, latents: Array) -> Floats:
        """See `Reference`."""
        return self.family.rows(torch.tensor(latents)).numpy()  # type: ignore[no-any-return]

    def own_error(self, items: Array, latents: Array) -> float:
        """See `Reference`."""
        items, latents, total = items[:PROBED], latents[:PROBED], 0.0
        size = measure.together(items.shape[1:])
        for source, part in zip(measure.batches(items, size), measure.batches(latents, size), strict=True):
            with torch.no_grad():
                error = self.decoder(torch.tensor(part)) - wanted(self.family, torch.tensor(whole(self.family, source)))
            total += float(error.double().square().sum())
        return total / len(self.rows(latents))

    def sensitivity(self, latents: Array) -> npt.NDArray[np.float64]:
        """See `sensitivity`."""
        return sensitivity(self.decoder, torch.tensor(latents[:PROBED]), self.family.rows)

    def analysis(self, items: Array) -> onnx.ModelProto:
        """See `Reference`."""
        return to_onnx(Analysis(self.family, self.encoder), torch.tensor(items[:4]), self.family, "analysis")

    def synthesis(self, latents: Array) -> onnx.ModelProto:
        """See `Reference`."""
        return to_onnx(Synthesis(self.family, self.decoder), torch.tensor(latents[:4]), self.family, "synthesis")

    @staticmethod
    def _run(module: Callable[[torch.Tensor], torch.Tensor], values: Array) -> Floats:
        with torch.no_grad():
            return torch.cat([module(torch.tensor(part)) for part in measure.batches(values)]).numpy()


def sensitivity(
    decoder: nn.Module,
    latents: torch.Tensor,
    rows: Callable[[torch.Tensor], torch.Tensor],
    probes: int = 8,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Squared change of the output for a unit change of each latent channel, float64 [C].

    E ||d g / d y_c||^2, estimated with random signs u as E (J^T u)_c^2 (Hutchinson's estimator), one backward pass a
    probe for all channels together.

    Args:
        decoder: the synthesis transform, differentiable.
        latents: calibration latents in the family's layout.
        rows: maps latents to [P, C].
        probes: number of random sign patterns.
        seed: seed of the patterns.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        values = decoder(latents[:1]).numel()
    size = max(2, min(len(latents), PROBED_AT_ONCE // values))
    parts = torch.split(latents.detach(), size)
    # Of many parts each tells the same: their mean needs no more signs in all than one part would.
    each = max(2, probes // len(parts))
    found = [probed(decoder, part, rows, each, generator) for part in parts]
    return np.average(found, axis=0, weights=[len(part) for part in parts])


def probed(
    decoder: nn.Module,
    latents: torch.Tensor,
    rows: Callable[[torch.Tensor], torch.Tensor],
    probes: int,
    generator: torch.Generator,
) -> npt.NDArray[np.float64]:
    """The same for latents that a gradient is taken of at once."""
    point = latents.clone().requires_grad_(True)
    output = decoder(point)
    total = torch.zeros(rows(latents).shape[1], dtype=torch.float64)
    for _ in range(probes):
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output.dtype) * 2 - 1
        (gradient,) = torch.autograd.grad(output, point, signs, retain_graph=True)
        total += rows(gradient).double().square().mean(0)
    return (total / probes).numpy()
