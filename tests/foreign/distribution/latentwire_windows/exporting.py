"""The family's room in the export layer: what is in a run; all else is as in any codec of `export_codec`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentwire.export import FactorizedFamily, FactorizedRun
from latentwire.runtime import ItemContract
from latentwire_windows import NAME
from latentwire_windows.networks import Layout
from latentwire_windows.training import FAMILY as TRAINING

RANGE = (-4.0, 4.0)


@dataclass(frozen=True)
class Family(FactorizedFamily):
    """Windows of a signal."""

    name: str = NAME

    def load_run(self, run: Path) -> FactorizedRun:
        encoder, decoder, document = TRAINING.load_run(run)
        contract = ItemContract("float32", ("items", document["length"], document["channels"]), RANGE)
        return FactorizedRun(encoder, decoder, Layout(contract), Path(document["data"]), document)


FAMILY = Family()
