"""Parity of a bundle that was made of a CompressAI model, on real pictures, and against the model itself."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from latentwire.export import measure
from latentwire.export.planes import BLOCK, PlaneVerifier
from latentwire.export.verify import Report
from latentwire.runtime.contract import Array

SIZE_LIMIT = 0.01
"""Our packets may be larger than CompressAI's strings by this share, and `HEADER` bytes each."""
HEADER = 32
ERROR_LIMIT = 0.01
"""And their squared error larger by this share."""


class CompressaiVerifier(PlaneVerifier):
    """The checks of one bundle on pictures uint8 [H, W, 3]."""

    reference_type: ClassVar[type] = nn.Module

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
        report.add(
            "squared error, share more than CompressAI's", error["ours"] / max(error["theirs"], 1e-12) - 1, ERROR_LIMIT
        )


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
