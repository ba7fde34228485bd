"""The two transforms as ONNX in every precision, and what a precision costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from latentwire.export import measure, quantize
from latentwire.export.factorized.grids import finished, whole
from latentwire.export.factorized.layout import Family
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.verify import MSE_LIMIT, RATE_LIMIT
from latentwire.export.family import DEFAULT_QUALITY
from latentwire.runtime.contract import Array

INT8_CALIBRATION = 2048


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
        result.add_int8("analysis", quantize.fit_int8(analysis, sample, judge.analysis_loss, "analysis"))
        decoded = judge.decoded_latents(sample)
        result.add_int8("synthesis", quantize.fit_int8(synthesis, decoded, judge.synthesis_loss, "synthesis"))
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

    def loss(self, latents: Array, synthesis: Any) -> float:
        """The largest share of an allowance that is used up."""
        shares = []
        for quality, base in self.base.items():
            found = self.point(latents, synthesis, quality)
            shares.append((found.mse / max(base.mse, 1e-12) - 1) / MSE_LIMIT)
            if quality == DEFAULT_QUALITY:
                shares.append((found.bits / base.bits - 1) / RATE_LIMIT)
        return max(0.0, *shares)

    def analysis_loss(self, model: onnx.ModelProto) -> float:
        """Loss of an int8 analysis transform in front of the fp32 synthesis transform."""
        return self.loss(measure.run_batched(self._session(model, "analysis"), "input", self.items), self.synthesis)

    def synthesis_loss(self, model: onnx.ModelProto) -> float:
        """Loss of an int8 synthesis transform behind the fp32 analysis transform."""
        return self.loss(self.latents, self._session(model, "synthesis"))

    def _session(self, model: onnx.ModelProto, role: str) -> Any:
        return measure.session(finished(self.family, model, role))
