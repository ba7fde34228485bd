"""The family `indices`: codecs of networks that choose codewords."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.export.errors import ExportError
from latentwire.export.factorized import FactorizedFamily
from latentwire.export.family import Exported
from latentwire.export.indices.codec import export_indices
from latentwire.export.indices.layout import NAME
from latentwire.export.indices.verify import IndexVerifier
from latentwire.export.verify import Items, Subject, Verifier


@dataclass(frozen=True)
class IndexFamily(FactorizedFamily):
    """Items [N, ...] of any shape; what is sent of each is a map of indices. There are no runs of it."""

    name: str = NAME

    def export_model(self, model: Any, data: Any, out: str | Path, **options: Any) -> Exported:
        """See `export_indices`, which `export_codec` finds here."""
        return export_indices(model, data, out, **options)

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of items, several in a packet."""
        return IndexVerifier(subject, np.asarray(items))

    def explore(self, bundle: str | Path, data: Path, out: Path, seed: int) -> list[Path]:
        """There are none: between two codewords there is nothing to draw."""
        raise ExportError(
            f"{bundle}: expected a codec of latents that are numbers, found one of indices: no pages of it"
        )


FAMILY = IndexFamily()
