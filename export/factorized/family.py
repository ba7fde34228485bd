"""Any family whose codecs `export_codec` makes: a static probability model over items [N, ...].

A family with runs of its own inherits from `FactorizedFamily` and says what is in a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latentwire.export import pages
from latentwire.export.errors import ExportError
from latentwire.export.factorized.codec import export_codec
from latentwire.export.factorized.layout import Family
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.static import ItemForm
from latentwire.export.factorized.verify import ItemVerifier
from latentwire.export.family import Exported, ExportRequest, existing, with_terms
from latentwire.export.static import StaticForm
from latentwire.export.verify import Items, Subject, Verifier
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.files import load_items

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FactorizedRun:
    """What a finished run comes to.

    Attributes:
        encoder: analysis transform, as `export_codec` takes it.
        decoder: synthesis transform.
        layout: how its items and latents are laid out.
        data: the training items' file or folder.
        provenance: run.json.
        steps: quantization steps float32 [256, C] in latent units from training; fitted where None.
    """

    encoder: nn.Module
    decoder: nn.Module
    layout: Family
    data: Path
    provenance: Mapping[str, Any]
    steps: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FactorizedFamily:
    """Codecs that came from a pair of torch modules, without a run: what nobody registered is one of these."""

    name: str
    form: StaticForm = field(default_factory=ItemForm)

    def load_run(self, run: Path) -> FactorizedRun:
        """A finished run.

        Raises:
            ExportError: always; families with runs of their own say how to load one.
        """
        raise ExportError(
            f"{run}: expected a run of a family that is installed here, found one of {self.name!r}: install the "
            "distribution that made it, or call export_codec with its modules"
        )

    def export_run(self, run: Path, out: Path, request: ExportRequest) -> Exported:
        """See `export_codec`; tables are fitted to the run's training data unless the request names other items."""
        trained = self.load_run(run)
        contract = trained.layout.contract
        source = request.calibrate or existing(trained.data, "--calibrate")
        items = self.read_items(source, contract)
        # Files are often sorted (by class, by time): calibration and hold-out each need a fair sample.
        items = items[np.random.default_rng(0).permutation(len(items))]
        return export_codec(
            (trained.encoder, trained.decoder),
            items,
            out,
            name=request.name,
            family=trained.layout,
            steps=trained.steps,
            precisions=request.precisions,
            holdout=self.read_items(request.holdout, contract) if request.holdout else None,
            training=with_terms(trained.provenance, request.terms),
            calibration={"source": source.name},
            overwrite=request.overwrite,
            on_stage=request.on_stage,
        )

    def read_items(self, path: Path, contract: ItemContract) -> Array:
        """In the contract's shape, as `latentwire encode` reads them."""
        return load_items(path, contract)

    def read_labelled(self, path: Path, contract: ItemContract) -> pages.Labelled:
        """The same, as `explore` draws them."""
        items = self.read_items(path, contract)
        return pages.Labelled(items, items.shape[1:])

    def some(self, items: Items, count: int) -> Items:
        """The first ones."""
        return items[:count]

    def golden_items(self, golden: Array) -> Items:
        """One packet of items."""
        return golden

    def reference(self, run: Path) -> Reference:
        """The run's modules."""
        trained = self.load_run(run)
        from latentwire.export.factorized.torch_reference import TorchReference

        return TorchReference.of(trained.layout, trained.encoder, trained.decoder)

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of items, several in a packet."""
        return ItemVerifier(subject, np.asarray(items))

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """Reconstructions, rate and distortion, the map of the latents, interpolations."""
        contract = open_bundle(bundle).manifest.input
        return pages.explore_bundle(bundle, self.read_labelled(data, contract), out, seed=seed)
