"""From any pair of torch modules to a bundle: `export_codec`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from latentwire.export import measure, quantize
from latentwire.export.errors import ExportError
from latentwire.export.factorized import fit
from latentwire.export.factorized.layout import RANGE_MARGIN, Dense, Family
from latentwire.export.factorized.pack import build_pack, build_unpack
from latentwire.export.factorized.transforms import Analysis, Synthesis, to_onnx
from latentwire.export.factorized.verify import MSE_LIMIT, RATE_LIMIT, ItemVerifier, Reference
from latentwire.export.family import DEFAULT_QUALITY, Exported, check_precisions, identity_of
from latentwire.export.publish import Models, Publication, publish
from latentwire.export.transforms import freeze
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import SettingError

HOLDOUT_SHARE = 0.2
GOLDEN_ITEMS = 16
MAX_HOLDOUT = 2048
MAX_CALIBRATION = 60000
INT8_CALIBRATION = 2048


@dataclass(frozen=True)
class Transforms:
    """The two transforms as ONNX, by variant, and which torch modules stayed float in each int8 one."""

    analysis: dict[str, onnx.ModelProto]
    synthesis: dict[str, onnx.ModelProto]
    float_layers: dict[str, tuple[str, ...]]


def export_codec(
    encoder: nn.Module,
    decoder: nn.Module,
    data: Array,
    out: str | Path,
    *,
    name: str | None = None,
    family: Family | None = None,
    steps: npt.NDArray[np.float32] | None = None,
    precisions: Sequence[str] = ("fp32",),
    holdout: Array | None = None,
    training: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
    range_margin: float = RANGE_MARGIN,
) -> Exported:
    """Turn any pair of torch modules into a bundle: measure, fit, export, quantize, assemble, verify, write.

    Args:
        encoder: analysis transform, float32 network input [N, ...] -> latents float32 [N, C].
        decoder: synthesis transform, latents -> float32 network output.
        data: calibration items of the contract's dtype, [N, ...], real data, at least 32 items. Unless ``holdout`` is
            given, its last fifth (at most 2048 items) is kept apart to verify on.
        out: folder to write. It appears whole, or not at all.
        name: the codec's name; the folder's by default.
        family: what the items are; vectors of ``data``'s dtype by default: integers of their full range are mapped to
            [0, 1] for the networks, floats are handed over as they are.
        steps: quantization steps float32 [256, C] in latent units, from training; fitted from the decoder's
            sensitivity when None.
        precisions: variants to write, of "fp32", "int8", "fp16"; fp32 must be among them, it is what others are
            compared with.
        holdout: items to verify on.
        training: provenance of the networks, any JSON.
        calibration: provenance of ``data``, any JSON.
        overwrite: replace a bundle that is there.
        on_stage: told what is done next, in a few words.
        range_margin: without ``family``, of floats: the codec takes values that lie beyond the smallest and largest of
            the calibration items by this part of their span; 0 for none.

    Raises:
        ExportError: a module cannot be exported, or the data does not fit; names which and why.
        SettingError: unknown precisions, or a margin below 0.
        QuantizationError: int8 cannot stay within its limits.
        ParityError: the finished bundle fails its own verification.
    """
    check_precisions(precisions)
    if not 0 <= range_margin < math.inf:
        raise SettingError(f"expected a margin of the range from 0, found {range_margin!r}")
    items, held = split(data, holdout)
    encoder, decoder = freeze(encoder, "encoder"), freeze(decoder, "decoder")
    family = family or default_family(encoder, items, range_margin)
    family.contract.validate(items)
    family.contract.validate(held)
    reference = Reference(Analysis(family, encoder), Synthesis(family, decoder))
    on_stage(f"fitting tables to {len(items)} items")
    latents = reference.latents(items)
    rows = latent_rows(family, latents)
    steps = steps if steps is not None else fitted_steps(family, reference, items, latents, rows)
    fitted = fit.fit_tables(rows, check_steps(steps, rows.shape[1]))
    codec_id = fitted.tables.codec_id(family.name)
    pack, unpack = (build(family, fitted.tables, codec_id) for build in (build_pack, build_unpack))
    on_stage(f"exporting the transforms: {', '.join(precisions)}")
    coder = measure.Coder(measure.session(pack), measure.session(unpack), family.size_axes)
    transforms = make_transforms(family, reference, coder, items, held, latents, precisions)
    facts = {
        "items": len(items),
        "held_out_items": len(held),
        "table_excess_over_entropy": round(fitted.clustering_loss, 6),
        "layers_kept_float": {role: list(layers) for role, layers in transforms.float_layers.items()},
    }
    return publish(
        out,
        identity_of(family.name, family.contract, codec_id, family.size_axes, family.limits),
        Models(pack, unpack, transforms.analysis, transforms.synthesis, "int64"),
        Publication(name, training, calibration, overwrite, on_stage),
        facts,
        held[:GOLDEN_ITEMS],
        lambda subject: ItemVerifier(subject, held),
        reference,
        f"{len(held)} held-out items",
    )


def split(data: Array, holdout: Array | None) -> tuple[Array, Array]:
    """(calibration items, held-out items)."""
    if len(data) < 32:
        raise ExportError(f"calibration needs at least 32 real items, found {len(data)}")
    if holdout is not None:
        return data[:MAX_CALIBRATION], holdout[:MAX_HOLDOUT]
    kept = min(MAX_HOLDOUT, max(1, int(len(data) * HOLDOUT_SHARE)))
    return data[:-kept][:MAX_CALIBRATION], data[-kept:]


def default_family(encoder: nn.Module, items: Array, margin: float = RANGE_MARGIN) -> Dense:
    """Vectors of the dtype at hand, channels read off the encoder; see `export_codec` for the margin."""
    if items.ndim != 2:
        raise ExportError(f"expected items [N, D] for the dense family, found shape {list(items.shape)}; give family=")
    contract = ItemContract.of(items)
    whole = contract.dtype != "float32"
    if not whole:
        contract = replace(contract, range=(float(items.min()), float(items.max())))
    family = Dense(contract, channels=1, network_range=(0.0, 1.0) if whole else None).widened(margin)
    with torch.no_grad():
        latents = encoder(family.normalize(torch.tensor(items[:2])))
    if latents.ndim != 2:
        raise ExportError(f"the encoder must return latents [N, C], found shape {list(latents.shape)}")
    return replace(family, channels=latents.shape[1])


def latent_rows(family: Family, latents: torch.Tensor) -> npt.NDArray[np.float32]:
    """Latents as rows [P, C], checked to be finite."""
    rows: npt.NDArray[np.float32] = family.rows(latents).numpy()
    if not np.isfinite(rows).all():
        raise ExportError("the encoder returns latents that are not finite on the calibration data")
    return rows


def check_steps(steps: npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """Float32 [256, C], positive and finite."""
    wanted = (256, channels)
    if steps.shape != wanted or not (np.isfinite(steps).all() and (steps > 0).all()):
        raise ExportError(f"steps must be positive and of shape {list(wanted)}, found shape {list(steps.shape)}")
    return steps.astype(np.float32)


def fitted_steps(
    family: Family, reference: Reference, items: Array, latents: torch.Tensor, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Steps from the decoder's sensitivity and the transforms' own error."""
    count = min(1024, len(items))
    decoder = reference.synthesis.decoder
    target = family.normalize(torch.tensor(items[:count]))
    with torch.no_grad():
        error = float((decoder(latents[:count]) - target).square().sum() / len(family.rows(latents[:count])))
    return fit.fit_steps(rows, fit.sensitivity(decoder, latents[:count], family.rows), error)


def make_transforms(
    family: Family,
    reference: Reference,
    coder: measure.Coder,
    items: Array,
    held: Array,
    latents: torch.Tensor,
    precisions: Sequence[str],
) -> Transforms:
    """Export both transforms and derive the other precisions."""
    analysis = to_onnx(reference.analysis, torch.tensor(items[:4]), family, "analysis")
    synthesis = to_onnx(reference.synthesis, latents[:4], family, "synthesis")
    result = Transforms({"fp32": analysis}, {"fp32": synthesis}, {})
    if "int8" in precisions:
        sample = items[:: max(1, len(items) // INT8_CALIBRATION)]
        judge = Judge(family, coder, analysis, synthesis, held)
        encoder = quantize.fit_int8(analysis, sample, judge.analysis_loss, "analysis")
        decoder = quantize.fit_int8(synthesis, judge.decoded_latents(sample), judge.synthesis_loss, "synthesis")
        result.analysis["int8"], result.synthesis["int8"] = encoder.model, decoder.model
        result.float_layers.update(analysis=encoder.float_layers, synthesis=decoder.float_layers)
    if "fp16" in precisions:
        half = reference.in_half()
        result.analysis["fp16"] = to_onnx(half.analysis, torch.tensor(items[:4]), family, "analysis")
        result.synthesis["fp16"] = to_onnx(half.synthesis, latents[:4], family, "synthesis")
    return result


class Judge:
    """Measures what a quantized transform loses against fp32, as a share of what is allowed."""

    def __init__(
        self, family: Family, coder: measure.Coder, analysis: onnx.ModelProto, synthesis: onnx.ModelProto, items: Array
    ) -> None:
        self.family, self.coder, self.items = family, coder, items
        self.analysis, self.synthesis = measure.session(analysis), measure.session(synthesis)
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
        return self.loss(measure.run_batched(measure.session(model), "input", self.items), self.synthesis)

    def synthesis_loss(self, model: onnx.ModelProto) -> float:
        """Loss of an int8 synthesis transform behind the fp32 analysis transform."""
        return self.loss(self.latents, measure.session(model))
