"""The two transforms as ONNX in every precision, and what a precision costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx

from latentwire.export import measure, quantize
from latentwire.export.errors import QuantizationError
from latentwire.export.factorized.grids import finished, whole
from latentwire.export.factorized.layout import Family
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.verify import MSE_LIMIT, RATE_LIMIT
from latentwire.export.family import DEFAULT_QUALITY
from latentwire.runtime.contract import Array

INT8_CALIBRATION = 2048
NEAR_LIMIT = 0.008
"""At quality 255 an int8 transform may raise the squared error by this share, where one can be had that does no more:
both halves use half of what they may, and quantization adds its part."""


@dataclass
class Transforms:
    """The two transforms as ONNX, by variant.

    Attributes:
        float_layers: by role, which modules stayed float in its int8 variant, or all where it has none.
        notes: what is to be said of them.
    """

    analysis: dict[str, onnx.ModelProto]
    synthesis: dict[str, onnx.ModelProto]
    float_layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_int8(self, role: str, found: quantize.Quantized) -> None:
        """Take an int8 variant, if there is one, and what is to be said of it."""
        if found.model is not None:
            (self.analysis if role == "analysis" else self.synthesis)["int8"] = found.model
        self.float_layers[role] = found.float_layers
        if found.note:
            self.notes.append(found.note)


def make_transforms(
    reference: Reference, coder: measure.Coder, items: Array, held: Array, latents: Array, precisions: Sequence[str]
) -> Transforms:
    """Export both transforms and derive the other precisions."""
    family, items = reference.family, whole(reference.family, items)
    analysis, synthesis = reference.analysis(items), reference.synthesis(latents)
    result = Transforms({"fp32": analysis}, {"fp32": synthesis})
    if "int8" in precisions:
        sample = items[:: max(1, len(items) // INT8_CALIBRATION)]
        judge = Judge(family, coder, analysis, synthesis, held)
        result.add_int8("analysis", judge.fit_int8(analysis, sample, "analysis"))
        result.add_int8("synthesis", judge.fit_int8(synthesis, judge.decoded_latents(sample), "synthesis"))
    if "fp16" in precisions:
        half = reference.in_half()
        result.analysis["fp16"], result.synthesis["fp16"] = half.analysis(items), half.synthesis(latents)
    for role, models in (("analysis", result.analysis), ("synthesis", result.synthesis)):
        models |= {variant: finished(family, model, role) for variant, model in models.items()}
    return result


class Judge:
    """Measures what a quantized transform loses against fp32, as a share of what is allowed."""

    def __init__(
        self, family: Family, coder: measure.Coder, analysis: onnx.ModelProto, synthesis: onnx.ModelProto, items: Array
    ) -> None:
        self.family, self.coder, self.items = family, coder, items
        self.analysis, self.synthesis = self._session(analysis, "analysis"), self._session(synthesis, "synthesis")
        self.latents = measure.run_batched(self.analysis, "input", items)
        self.base = {q: self.point(self.latents, self.synthesis, q) for q in (DEFAULT_QUALITY, 255)}

    def point(self, latents: Array, synthesis: Any, quality: int) -> measure.RatePoint:
        """Rate and distortion at one quality."""
        return measure.rate_point(self.coder, latents, self.items, synthesis, self.family.contract, quality)

    def decoded_latents(self, items: Array) -> Array:
        """What the synthesis transform will see: latents quantized at low, middle and high quality."""
        latents = measure.run_batched(self.analysis, "input", items)
        parts = zip(np.array_split(latents, 3), np.array_split(items, 3), (64, DEFAULT_QUALITY, 255), strict=True)
        packets = [self.coder.packet(part, source.shape, quality) for part, source, quality in parts]
        return np.concatenate([self.coder.restore(packet)["latents"] for packet in packets])

    def fit_int8(self, model: onnx.ModelProto, calibration: Array, role: str) -> quantize.Quantized:
        """The int8 variant of a transform that stays within `NEAR_LIMIT`, or else within what any precision may lose.

        Raises:
            QuantizationError: there is none.
        """
        try:
            return quantize.fit_int8(model, calibration, partial(self.loss, role, best=NEAR_LIMIT), role)
        except QuantizationError:
            return quantize.fit_int8(model, calibration, partial(self.loss, role, best=MSE_LIMIT), role)

    def loss(self, role: str, model: onnx.ModelProto, best: float) -> float:
        """The largest share of an allowance that an int8 transform uses up beside the fp32 one of the other half.

        Args:
            role: "analysis" or "synthesis".
            model: the transform.
            best: by which share it may raise the squared error at quality 255.
        """
        session, latents, synthesis = self._session(model, role), self.latents, self.synthesis
        if role == "analysis":
            latents = measure.run_batched(session, "input", self.items)
        else:
            synthesis = session
        shares = []
        for quality, base in self.base.items():
            found = self.point(latents, synthesis, quality)
            allowed = MSE_LIMIT if quality == DEFAULT_QUALITY else best
            shares.append((found.mse / max(base.mse, 1e-12) - 1) / allowed)
            if quality == DEFAULT_QUALITY:
                shares.append((found.bits / base.bits - 1) / RATE_LIMIT)
        return max(0.0, *shares)

    def _session(self, model: onnx.ModelProto, role: str) -> Any:
        return measure.session(finished(self.family, model, role))
