"""The family `compressai`, as the layer knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentwire.export.compressai.codec import Picture, spread
from latentwire.export.compressai.models import FAMILY as NAME
from latentwire.export.compressai.static import PaddedForm
from latentwire.export.compressai.verify import CompressaiVerifier
from latentwire.export.errors import ExportError
from latentwire.export.family import Exported, ExportRequest
from latentwire.export.static import StaticForm
from latentwire.export.verify import Items, Subject, Verifier
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.files import read_pictures


@dataclass(frozen=True)
class CompressaiFamily:
    """One picture uint8 [H, W, C] of any size a packet. Its models are trained elsewhere: there are no runs."""

    name: str = NAME
    form: StaticForm = field(default_factory=PaddedForm)

    def export_run(self, run: Path, out: Path, request: ExportRequest) -> Exported:
        """There are no runs.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"{run}: expected a run of a family that is trained here: import CompressAI's weights instead"
        )

    def read_items(self, path: Path, contract: ItemContract) -> list[Picture]:
        """A picture, or all below a folder."""
        return read_pictures(path)

    def some(self, items: Items, count: int) -> list[Picture]:
        """Evenly spaced ones."""
        return spread(list(items), count)

    def golden_items(self, golden: Picture) -> list[Picture]:
        """One picture."""
        return [golden]

    def reference(self, run: Path) -> Any:
        """There is none on disk.

        Raises:
            ExportError: always.
        """
        raise ExportError(f"{run}: expected a run of a family that is trained here: give the model to verify_bundle")

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of pictures, one in a packet."""
        return CompressaiVerifier(subject, items)

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """There are no pages.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"{bundle}: expected a codec of several items a packet, found one of pictures: it has no pages"
        )


FAMILY = CompressaiFamily()
