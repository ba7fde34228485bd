"""The family `compressai`, as the layer knows it."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.export.compressai.models import FAMILY as NAME
from latentwire.export.compressai.verify import CompressaiVerifier
from latentwire.export.planes import PlanesFamily
from latentwire.export.verify import Items, Subject, Verifier


@dataclass(frozen=True)
class CompressaiFamily(PlanesFamily):
    """One picture uint8 [H, W, C] of any size a packet. Its models are trained elsewhere: there are no runs."""

    name: str = NAME

    def verifier(self, subject: Subject, items: Items) -> Verifier:
        """Of pictures, one in a packet."""
        return CompressaiVerifier(subject, items)


FAMILY = CompressaiFamily()
