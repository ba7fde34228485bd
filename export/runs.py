"""From run folders to bundles and reports, whatever the family: what the commands do, for Python callers too."""

from __future__ import annotations

from pathlib import Path

from latentwire.export.families import family_named
from latentwire.export.family import Exported, ExportRequest
from latentwire.export.verify import Items, Report, Subject
from latentwire.runtime.bundle import open_bundle
from latentwire.train import family_of_run


def export_run(run: str | Path, out: str | Path, request: ExportRequest | None = None) -> Exported:
    """Export a finished run.

    Args:
        run: run folder.
        out: bundle folder to write. It appears whole, or not at all.
        request: how; fp32 alone, fitted to the run's own data, where None.

    Raises:
        ExportError: the calibration data is missing or of another kind than the run's, or nothing here exports runs of
            its family.
        RunError: there is no finished run.
        ParityError: the bundle fails its own verification.
    """
    return family_named(family_of_run(Path(run))).export_run(Path(run), Path(out), request or ExportRequest())


def verify_run(bundle: str | Path, data: str | Path | None, run: str | Path | None, limit: int) -> Report:
    """Verify a bundle on ``data`` (its golden items if None), against torch if its ``run`` is given.

    Raises:
        BundleError: there is no such bundle, or it is not what its manifest says.
        InputError: the data cannot be read, or is not what the codec takes.
        ExportError: the run is of another family than the bundle.
    """
    opened = open_bundle(bundle)
    family = family_named(opened.manifest.family)
    if data is None:
        items = family.golden_items(opened.read_array(opened.manifest.golden.input))
    else:
        items = family.read_items(Path(data), opened.manifest.input)
    reference = None if run is None else family_named(family_of_run(Path(run))).reference(Path(run))
    return family.verifier(Subject(opened), family.some(items, limit)).run(reference)


def read_calibration(bundle: str | Path, data: str | Path | None) -> Items | None:
    """The items of ``data`` as a bundle takes them; None for None."""
    if data is None:
        return None
    manifest = open_bundle(bundle).manifest
    return family_named(manifest.family).read_items(Path(data), manifest.input)
