"""Parity of a bundle whose model follows the protocol, on real pictures."""

from __future__ import annotations

from typing import Any, ClassVar

from latentwire.export import measure
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.pictures import OnePictureVerifier
from latentwire.export.verify import Report

RATE_LIMIT = 0.02
"""Another precision of a transform may cost this share of the rate."""
ERROR_LIMIT = 0.03
"""And this share of the squared error."""
FIXED = "fixed_rate"
"""What a bundle's manifest says of its fit where quality does nothing."""


class PlaneVerifier(OnePictureVerifier):
    """The checks of one bundle on pictures uint8 [H, W, 3]."""

    reference_type: ClassVar[type] = object

    @property
    def variable(self) -> bool:
        """Whether quality does anything."""
        return not self.subject.manifest.provenance.calibration.get(FIXED, False)

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
