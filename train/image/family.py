"""The family `image`, as the layer knows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentwire.train.families import Report
from latentwire.train.image.cli import image

if TYPE_CHECKING:
    from latentwire.train.image.run import TrainedImageRun

NAME = "image"


@dataclass(frozen=True)
class ImageFamily:
    """One picture uint8 [H, W, C] of any size a packet."""

    name: str = NAME
    command: click.Command = image

    def load_run(self, folder: Path) -> TrainedImageRun:
        """See `latentwire.train.image.load_image_run`."""
        from latentwire.train.image.run import load_image_run

        return load_image_run(folder)

    def resume(self, folder: Path, report: Report) -> dict[str, Any]:
        """Continue a run on the pictures that it was started on."""
        from latentwire.train.image.run import resume

        return resume(folder, report)


FAMILY = ImageFamily()
