"""Parity of a bundle that was made of a CompressAI model, on real pictures, and against the model itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from latentwire.export import measure
from latentwire.export.compressai.state import ARCHITECTURES
from latentwire.export.compressai.transforms import BLOCK
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.verify import Report, Verifier
from latentwire.runtime.contract import Array

RATE_LIMIT = 0.02
"""Another precision of a transform may cost this share of the rate."""
ERROR_LIMIT = 0.03
"""And this share of the squared error; both together, as rate at equal error, `EQUAL_LIMIT` where there is a curve."""
EQUAL_LIMIT = 0.02
SIZE_LIMIT = 0.01
"""Our packets may be larger than CompressAI's strings by this share, and `HEADER` bytes each."""
HEADER = 32
LEVEL_LIMIT = 1.0
"""Largest difference of an output level between torch and ONNX fp32, symbols being the same."""


class CompressaiVerifier(Verifier):
    """The checks of one bundle on pictures uint8 [H, W, 3]."""

    reference_type: ClassVar[type] = nn.Module
    compared: ClassVar[tuple[int, ...]] = Verifier.qualities

    @property
    def variable(self) -> bool:
        """Whether quality does anything."""
        name = self.subject.manifest.provenance.calibration.get("architecture")
        return name in ARCHITECTURES and ARCHITECTURES[str(name)].variable

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
        """Symbols' cost and pictures, by ``compress`` and ``decompress`` of the model."""
        pieces = self.subject.pieces()
        ours = theirs = 0
        error = {"ours": 0.0, "theirs": 0.0}
        for picture in self.packets()[:4]:
            if picture.shape[2] != 3:
                continue
            packet = pieces.packet(picture, 255)
            restored, size = coded_by(reference, picture, variable=self.variable)
            ours, theirs = ours + len(packet) - HEADER, theirs + size
            for name, output in (("ours", pieces.output(packet)), ("theirs", restored)):
                error[name] += measure.mse(picture, output, self.subject.manifest.input)
        report.add("bytes, share more than CompressAI's strings", ours / max(theirs, 1) - 1, SIZE_LIMIT)
        report.add("squared error, share more than CompressAI's", error["ours"] / max(error["theirs"], 1e-12) - 1, 0.01)


@torch.no_grad()
def coded_by(model: nn.Module, picture: Array, *, variable: bool = False, level: int = 7) -> tuple[Array, int]:
    """(Picture uint8 [H, W, 3], bytes of all strings) that CompressAI makes of a picture, padded as its examples do."""
    planes = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    before, after = zip(*(halves(length) for length in picture.shape[:2]), strict=True)
    options = {"s": level} if variable else {}
    whole = F.pad(planes, (before[1], after[1], before[0], after[0]))
    found: Any = model.compress(whole, **options)  # type: ignore[operator]
    restored: Any = model.decompress(**found, **options)["x_hat"]  # type: ignore[operator]
    cut = F.pad(restored, (-before[1], -after[1], -before[0], -after[0]))
    levels = torch.round(cut[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    return levels, sum(len(string) for strings in found["strings"] for string in strings)


def halves(length: int) -> tuple[int, int]:
    """What CompressAI pads before and behind a length."""
    missing = -length % BLOCK
    return missing // 2, math.ceil(missing / 2)
