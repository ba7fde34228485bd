"""The family `dense`, as the layer knows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentwire.train.dense.cli import dense
from latentwire.train.families import Report

if TYPE_CHECKING:
    from latentwire.train.dense.run import TrainedRun

NAME = "dense"


@dataclass(frozen=True)
class DenseFamily:
    """Vectors [N, D]."""

    name: str = NAME
    command: click.Command = dense

    def load_run(self, folder: Path) -> TrainedRun:
        """See `latentwire.train.load_run`."""
        from latentwire.train.dense.run import load_run

        return load_run(folder)

    def resume(self, folder: Path, report: Report) -> dict[str, Any]:
        """Continue a run on the files that its items came from."""
        from latentwire.train.dense.data import load_split
        from latentwire.train.dense.run import recorded_request, resume
        from latentwire.train.run import read_document

        return resume(load_split(recorded_request(read_document(folder))), folder)


FAMILY = DenseFamily()
