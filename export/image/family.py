"""The family `image`, as the layer knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latentwire.export.errors import ExportError
from latentwire.export.family import Exported, ExportRequest, existing, with_terms
from latentwire.export.image.codec import FIT_PICTURES, export_image
from latentwire.export.image.static import PictureForm
from latentwire.export.image.tables import FAMILY as NAME
from latentwire.export.image.verify import PictureVerifier
from latentwire.export.pictures import OnePictureFamily, spread
from latentwire.export.publish import Publication
from latentwire.export.static import StaticForm
from latentwire.export.verify import Items, Subject, Verifier
from latentwire.runtime.errors import InputFileError
from latentwire.runtime.files import read_pictures
from latentwire.train.image import ImageNetwork, load_image_run, options_of

HELD_OUT = 8
"""Pictures to verify on."""


@dataclass(frozen=True)
class ImageFamily(OnePictureFamily):
    """One picture uint8 [H, W, C] of any size a packet."""

    name: str = NAME
    form: StaticForm = field(default_factory=PictureForm)

    def export_run(self, run: Path, out: Path, request: ExportRequest) -> Exported:
        """See `export_image`.

        Tables are fitted to the run's training pictures and verified on its validation pictures, unless the request
        names other folders. Without either, every 20th training picture is kept apart to verify on.
        """
        trained = load_image_run(run)
        data = trained.provenance["data"]
        source = existing(request.calibrate or Path(data["train"]), "--calibrate")
        reading = options_of(data)
        bad: list[InputFileError] = []  # as in training, which may have had them too
        pictures = read_pictures(source, reading, bad)
        held_at = request.holdout or (Path(data["validation"]) if data["validation"] else None)
        if held_at is not None:
            also: list[InputFileError] = []
            held = read_pictures(existing(held_at, "--holdout"), reading, also)
            bad += also
        else:
            held, pictures = pictures[::20], [picture for at, picture in enumerate(pictures) if at % 20] or pictures
        for fault in bad:
            request.on_stage(f"skipped: {fault}")
        return export_image(
            trained.network,
            spread(pictures, FIT_PICTURES),
            out,
            holdout=spread(held, HELD_OUT),
            precisions=request.precisions,
            distortion=trained.distortion,
            publication=Publication(
                request.name,
                with_terms(trained.provenance, request.terms),
                {"source": source.name},
                request.overwrite,
                request.on_stage,
            ),
        )

    def reference(self, run: Path) -> ImageNetwork:
        """The run's network."""
        return load_image_run(run).network

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of pictures, one in a packet."""
        return PictureVerifier(subject, items)

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """There are no pages.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"{bundle}: expected a codec of several items a packet, found one of pictures: their pages are the curves "
            "and pictures of benchmarks/photo_codec.py"
        )


FAMILY = ImageFamily()
