"""Parity of a bundle whose model follows the protocol, on real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from latentwire.export import measure
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.verify import Report, Verifier
from latentwire.runtime.contract import Array

RATE_LIMIT = 0.02
"""Another precision of a transform may cost this share of the rate."""
ERROR_LIMIT = 0.03
"""And this share of the squared error."""
FIXED = "fixed_rate"
"""What a bundle's manifest says of its fit where quality does nothing."""


class PlaneVerifier(Verifier):
    """The checks of one bundle on pictures uint8 [H, W, 3]."""

    reference_type: ClassVar[type] = object
    compared: ClassVar[tuple[int, ...]] = Verifier.qualities

    @property
    def variable(self) -> bool:
        """Whether quality does anything."""
        return not self.subject.manifest.provenance.calibration.get(FIXED, False)

    def check_items(self) -> None:
        """Each picture."""
        for picture in self.items:
            self.subject.manifest.input.validate(picture)

    def packets(self) -> Sequence[Array]:
        """A picture each."""
        return list(self.items)

    def samples(self) -> Sequence[Array]:
        """One in colour, and a small grey one whose sides are no multiples of anything."""
        return [self.items[0], np.ascontiguousarray(self.items[0][:70, :45, 1:2])]

    def curve(self, pieces: Pieces, qualities: tuple[int, ...]) -> list[RatePoint]:
        """One point where there is but one rate."""
        chosen = qualities if self.variable else qualities[:1]
        return measure.rate_points(pieces, self.packets(), chosen, self.subject.manifest.input, count=lambda _: 1)

    def judge(self, report: Report, name: str, base: list[RatePoint], found: list[RatePoint]) -> None:
        """Rate and squared error apart, at each quality."""
        rate = max(other.bits / one.bits - 1 for one, other in zip(base, found, strict=True))
        error = max(other.mse / max(one.mse, 1e-12) - 1 for one, other in zip(base, found, strict=True))
        report.add(f"{name}: rate increase", rate, RATE_LIMIT)
        report.add(f"{name}: squared error increase", error, ERROR_LIMIT)

    def compare(self, report: Report, reference: Any) -> None:
        """There is nothing to compare with."""
        report.notes.append("there is no torch side of this codec's family: it was not compared")
