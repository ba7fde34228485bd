"""The family `dense`, as the layer knows it: a run is a pair of modules, its items are vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentwire import train
from latentwire.export import pages
from latentwire.export.factorized import Dense, FactorizedFamily, FactorizedRun
from latentwire.runtime.contract import Array, ItemContract

NAME = "dense"


@dataclass(frozen=True)
class DenseFamily(FactorizedFamily):
    """Vectors [N, D]."""

    name: str = NAME

    def load_run(self, run: Path) -> FactorizedRun:
        """Its encoder, decoder and steps."""
        trained = train.load_run(run)
        source = Path(trained.provenance["data"]["train"]["source"])
        layout = layout_of(trained)
        return FactorizedRun(trained.encoder, trained.decoder, layout, source, trained.provenance, trained.steps)

    def read_items(self, path: Path, contract: ItemContract) -> Array:
        """Of a file or folder, as training reads them: images and MNIST's folder become vectors."""
        return train.load_data(path, contract.range).items

    def read_labelled(self, path: Path, contract: ItemContract) -> pages.Labelled:
        """With labels where they lie beside the items, and the shape that these had in their file."""
        found = train.load_data(path, contract.range)
        return pages.Labelled(found.items, found.item_shape, found.labels)


def layout_of(trained: train.TrainedRun) -> Dense:
    """How the items and latents of a run are laid out.

    A range of floats that was measured on files is widened, since it is that of the training items; one that somebody
    said stays.
    """
    layout = Dense(trained.contract, channels=int(trained.provenance["network"]["latent"]))
    request = trained.provenance["data"]["request"]
    return layout.widened() if request is not None and request["range"] is None else layout


FAMILY = DenseFamily()
