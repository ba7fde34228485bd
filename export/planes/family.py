"""The family `planes`: codecs of pictures that follow the protocol and have no room of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentwire.export.errors import ExportError
from latentwire.export.family import Exported, ExportRequest
from latentwire.export.pictures import OnePictureFamily
from latentwire.export.planes.static import PaddedForm
from latentwire.export.planes.verify import PlaneVerifier
from latentwire.export.static import StaticForm
from latentwire.export.verify import Items, Subject, Verifier


@dataclass(frozen=True)
class PlanesFamily(OnePictureFamily):
    """One picture uint8 [H, W, C] of any size a packet. Its models are trained elsewhere: there are no runs."""

    name: str = "planes"
    form: StaticForm = field(default_factory=PaddedForm)

    def export_run(self, run: Path, out: Path, request: ExportRequest) -> Exported:
        """There are no runs.

        Raises:
            ExportError: always.
        """
        raise ExportError(f"{run}: expected a run of a family that is trained here: its models are trained elsewhere")

    def reference(self, run: Path) -> Any:
        """There is none on disk.

        Raises:
            ExportError: always.
        """
        raise ExportError(f"{run}: expected a run of a family that is trained here: give the model to verify_bundle")

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of pictures, one in a packet."""
        return PlaneVerifier(subject, items)

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """There are no pages.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"{bundle}: expected a codec of several items a packet, found one of pictures: it has no pages"
        )


FAMILY = PlanesFamily()
