"""From a run folder of the image family to a bundle, and from files to pictures for verification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from latentwire.export.errors import ExportError
from latentwire.export.families import Exported
from latentwire.export.image.codec import FIT_PICTURES, export_image
from latentwire.export.image.reference import Image
from latentwire.runtime.files import read_pictures as read_pictures
from latentwire.train.image.run import load_image_run

HELD_OUT = 8
"""Pictures to verify on."""


def export_image_run(
    run: Path,
    out: Path,
    *,
    precisions: Sequence[str],
    calibrate: Path | None,
    holdout: Path | None,
    name: str | None,
    terms: str | None,
    overwrite: bool,
    on_stage: Callable[[str], None],
) -> Exported:
    """Export a finished run; see `latentwire.export.runs.export_run`.

    Tables are fitted to the run's training pictures and verified on its validation pictures, unless ``calibrate`` and
    ``holdout`` name other folders. Without either, every 20th training picture is kept apart to verify on.
    """
    from latentwire.export.runs import with_terms

    trained = load_image_run(run)
    data = trained.provenance["data"]
    source = existing(calibrate or Path(data["train"]), "--calibrate")
    pictures = read_pictures(source)
    held_at = holdout or (Path(data["validation"]) if data["validation"] else None)
    if held_at is not None:
        held = read_pictures(existing(held_at, "--holdout"))
    else:
        held, pictures = pictures[::20], [picture for at, picture in enumerate(pictures) if at % 20] or pictures
    return export_image(
        trained.network,
        spread(pictures, FIT_PICTURES),
        out,
        holdout=spread(held, HELD_OUT),
        name=name,
        precisions=precisions,
        distortion=trained.distortion,
        training=with_terms(trained.provenance, terms),
        calibration={"source": source.name},
        overwrite=overwrite,
        on_stage=on_stage,
    )


def existing(path: Path, option: str) -> Path:
    """The path, if it is there.

    Raises:
        ExportError: it is not.
    """
    if not path.exists():
        raise ExportError(f"the run's pictures are no longer at {path}: name real ones with {option}")
    return path


def spread(pictures: Sequence[Image], count: int) -> list[Image]:
    """At most ``count`` of them, evenly spaced."""
    places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return [pictures[place] for place in places]
