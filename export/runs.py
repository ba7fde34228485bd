"""From run folders to `export_codec` and `verify_bundle`: what the commands do, for Python callers too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.export.errors import ExportError
from latentwire.export.factorized.codec import export_codec
from latentwire.export.factorized.family import Dense
from latentwire.export.factorized.transforms import Analysis, Synthesis
from latentwire.export.families import Exported
from latentwire.export.image.runs import export_image_run, read_pictures, spread
from latentwire.export.image.tables import FAMILY
from latentwire.export.transforms import freeze
from latentwire.export.verify import Reference, Report, verify_bundle
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.contract import Array, ItemContract
from latentwire.train.dense.data import load_data
from latentwire.train.dense.run import TrainedRun, load_run
from latentwire.train.image.run import load_image_run
from latentwire.train.run import read_document, without_folders


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    precisions: Sequence[str] = ("fp32",),
    calibrate: str | Path | None = None,
    holdout: str | Path | None = None,
    name: str | None = None,
    terms: str | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Export a finished run; see `export_codec`.

    Args:
        run: run folder.
        out: bundle folder to write.
        precisions: variants to write.
        calibrate: data file or folder; the run's own training data by default.
        holdout: data to verify on; part of the calibration data by default.
        name: the codec's name.
        terms: terms of use, such as those of the training data, for the card.
        overwrite: replace a bundle that is there.
        on_stage: told what is done next.

    Raises:
        ExportError: the calibration data is missing or of another kind than the run's.
    """
    if holds_pictures(run):
        return export_image_run(
            Path(run),
            Path(out),
            precisions=precisions,
            calibrate=Path(calibrate) if calibrate else None,
            holdout=Path(holdout) if holdout else None,
            name=name,
            terms=terms,
            overwrite=overwrite,
            on_stage=on_stage,
        )
    trained = load_run(run)
    source = Path(calibrate) if calibrate else training_source(trained)
    items = load_items(source, trained.contract)
    # Files are often sorted (by class, by time): calibration and hold-out each need a fair sample.
    items = items[np.random.default_rng(0).permutation(len(items))]
    return export_codec(
        trained.encoder,
        trained.decoder,
        items,
        out,
        name=name,
        family=family_of(trained),
        steps=trained.steps,
        precisions=precisions,
        holdout=load_items(Path(holdout), trained.contract) if holdout else None,
        training=with_terms(trained.provenance, terms),
        calibration={"source": source.name},
        overwrite=overwrite,
        on_stage=on_stage,
    )


def holds_pictures(run: str | Path) -> bool:
    """Whether a run is of the family of pictures."""
    return bool(read_document(Path(run)).get("family") == FAMILY)


def verify_run(bundle: str | Path, data: str | Path | None, run: str | Path | None, limit: int) -> Report:
    """Verify a bundle on ``data`` (its golden items if None), against torch if its ``run`` is given."""
    opened = open_bundle(bundle)
    if opened.manifest.family == FAMILY:
        pictures = read_pictures(Path(data)) if data else [opened.read_array(opened.manifest.golden.input)]
        return verify_bundle(bundle, spread(pictures, limit), load_image_run(run).network if run else None)
    if data is None:
        items = opened.read_array(opened.manifest.golden.input)
    else:
        items = load_items(Path(data), opened.manifest.input)[:limit]
    return verify_bundle(bundle, items, reference_of(load_run(run)) if run else None)


def read_calibration(bundle: str | Path, data: str | Path | None) -> list[Array] | None:
    """The pictures, or the one array of items, of ``data`` as a bundle takes them; None for None."""
    if data is None:
        return None
    contract = open_bundle(bundle).manifest.input
    return list(read_pictures(Path(data))) if contract.is_picture else [load_items(Path(data), contract)]


def reference_of(trained: TrainedRun) -> Reference:
    """The torch side of a comparison."""
    family = family_of(trained)
    return Reference(
        Analysis(family, freeze(trained.encoder, "encoder")), Synthesis(family, freeze(trained.decoder, "decoder"))
    )


def family_of(trained: TrainedRun) -> Dense:
    """The family object of a run."""
    return Dense(trained.contract, channels=int(trained.provenance["network"]["latent"]))


def with_terms(provenance: dict[str, Any], terms: str | None) -> dict[str, Any]:
    """What a bundle says of its training, its terms of use among it."""
    published: dict[str, Any] = without_folders(provenance)
    return published if terms is None else {"terms": terms, **published}


def training_source(trained: TrainedRun) -> Path:
    """Where the run's training data was."""
    source = Path(trained.provenance["data"]["train"]["source"])
    if not source.exists():
        raise ExportError(f"the run's training data is no longer at {source}: name real items with --calibrate")
    return source


def load_items(path: Path, contract: ItemContract) -> Array:
    """Items of a file or folder, which must have the contract's dtype and width."""
    return load_data(path, contract.range).items
