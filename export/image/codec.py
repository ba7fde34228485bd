"""From a trained image network to a bundle: `export_image`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
from torch import nn

from latentwire.export.assemble import join
from latentwire.export.errors import ExportError
from latentwire.export.family import DEFAULT_QUALITY, Exported, check_precisions, identity_of
from latentwire.export.image.equalize import equalized
from latentwire.export.image.fit import fit_tables
from latentwire.export.image.pack import build_pack
from latentwire.export.image.pieces import build_finish, build_prepare
from latentwire.export.image.quantize import feeds, to_int8
from latentwire.export.image.reference import Picture
from latentwire.export.image.tables import FAMILY, ImageTables
from latentwire.export.image.transforms import AnalysisTransform, SynthesisTransform
from latentwire.export.image.unpack import build_unpack
from latentwire.export.image.verify import PictureVerifier
from latentwire.export.pictures import CONTRACT, LIMITS, SIZE_AXES
from latentwire.export.publish import Models, Publication, publish
from latentwire.export.transforms import Half, freeze, trace
from latentwire.train.image import Distortion, ImageNetwork

FIT_PICTURES = 24
FIT_SIDE = 512
"""Tables are fitted to at most this many pictures, cut to this size."""
GOLDEN_SIDES = (128, 192)
LARGEST_EXPORT = 1 << 12
"""Blocks a side that the exporter is told of; the graph itself has no limit."""


def export_image(
    network: ImageNetwork,
    pictures: Sequence[Picture],
    out: str | Path,
    *,
    holdout: Sequence[Picture],
    precisions: Sequence[str] = ("fp32", "int8"),
    distortion: Distortion = "mse",
    publication: Publication | None = None,
) -> Exported:
    """Turn a trained image network into a bundle: fit tables, export, quantize, assemble, verify, write.

    Args:
        network: the trained network.
        pictures: uint8 [H, W, 3] of at least 64 x 64, that it was trained on or others of their kind: tables and int8
            are fitted to them.
        out: folder to write. It appears whole, or not at all.
        holdout: other pictures, to verify on.
        precisions: variants, of "fp32", "int8", "fp16", with fp32 among them. int8 is the encoder's alone, and its
            default where it is made.
        distortion: what the network was trained for: how symbols are rounded goes by it.
        publication: what is said of the bundle, and to whom its making is told.

    Raises:
        ExportError: the network cannot be exported, or there are too few pictures.
        SettingError: unknown precisions.
        QuantizationError: int8 cannot be made of it.
        ParityError: the finished bundle fails its own verification.
    """
    check_precisions(precisions)
    publication = publication or Publication()
    chosen = [middle(picture, FIT_SIDE) for picture in large_enough(pictures)[:FIT_PICTURES]]
    held = large_enough(holdout)
    frozen = freeze(network, "network")
    assert isinstance(frozen, ImageNetwork)
    publication.on_stage(f"fitting tables to {len(chosen)} pictures")
    tables = fit_tables(frozen, chosen, distortion)
    codec_id = tables.codec_id()
    pack, unpack = build_pack(tables, codec_id), build_unpack(tables, codec_id, LIMITS)
    publication.on_stage(f"exporting the transforms: {', '.join(precisions)}")
    analysis, synthesis = make_transforms(frozen, chosen, precisions)
    default = "int8" if "int8" in precisions else "fp32"
    return publish(
        out,
        identity_of(FAMILY, CONTRACT, codec_id, SIZE_AXES, LIMITS),
        Models(pack, unpack, analysis, synthesis, "int32", default),
        publication,
        facts(tables, chosen, held),
        middle(held[0], *GOLDEN_SIDES),
        lambda subject: PictureVerifier(subject, held),
        frozen,
        f"{len(held)} held-out pictures",
    )


def facts(tables: ImageTables, chosen: Sequence[Picture], held: Sequence[Picture]) -> dict[str, int]:
    """What the manifest says of the fit."""
    return {
        "pictures": len(chosen),
        "held_out_pictures": len(held),
        "table_rows": len(tables.frequency) + len(tables.hyper_frequency),
    }


def large_enough(pictures: Sequence[Picture]) -> list[Picture]:
    """Those of at least 64 x 64.

    Raises:
        ExportError: there are none.
    """
    kept = [picture for picture in pictures if min(picture.shape[:2]) >= 64]
    if not kept:
        raise ExportError(f"expected pictures of at least 64 x 64, found none among {len(pictures)}: name others")
    return kept


def middle(picture: Picture, height: int, width: int | None = None) -> Picture:
    """The middle of a picture, at most [height, width] pixels."""
    sides = [min(*pair) for pair in zip(picture.shape, (height, width or height), strict=False)]
    top, left = ((length - side) // 2 for length, side in zip(picture.shape, sides, strict=False))
    return np.ascontiguousarray(picture[top : top + sides[0], left : left + sides[1]])


def make_transforms(
    network: ImageNetwork, pictures: Sequence[Picture], precisions: Sequence[str]
) -> tuple[dict[str, onnx.ModelProto], dict[str, onnx.ModelProto]]:
    """(Analysis pieces, synthesis pieces) by variant."""
    prepare, finish = build_prepare(), build_finish()

    def analysis_piece(model: onnx.ModelProto) -> onnx.ModelProto:
        return join(prepare, model, ["input", "quality"], ["latents"])

    def synthesis_piece(model: onnx.ModelProto) -> onnx.ModelProto:
        return join(model, finish, ["latents", "quality", "size"], ["output"])

    transform = AnalysisTransform(network)
    analysis = {"fp32": analysis_piece(export_analysis(transform))}
    synthesis = {"fp32": synthesis_piece(export_synthesis(SynthesisTransform(network)))}
    if "int8" in precisions:
        analysis["int8"] = analysis_piece(to_int8(export_analysis(equalized(transform, feeds(pictures))), pictures))
    if "fp16" in precisions:
        analysis["fp16"] = analysis_piece(export_analysis(in_half(transform)))
        synthesis["fp16"] = synthesis_piece(export_synthesis(in_half(SynthesisTransform(network))))
    return analysis, synthesis


Transform = TypeVar("Transform", AnalysisTransform, SynthesisTransform)


def in_half(transform: Transform) -> Transform:
    """A copy with the residual network in half precision; the KLT's sums are too large for it on the encoder's side."""
    result = copy.deepcopy(transform)
    result.add_module("rest", Half(result.rest))
    return result


def export_analysis(transform: nn.Module) -> onnx.ModelProto:
    """Picture uint8 [H, W, 3], sides multiples of 64, quality uint8 [] -> latents."""
    axes = {
        axis: 64 * torch.export.Dim(name, min=1, max=LARGEST_EXPORT) for axis, name in enumerate(("rows", "columns"))
    }
    examples = [torch.zeros(128, 192, 3, dtype=torch.uint8), torch.tensor(DEFAULT_QUALITY, dtype=torch.uint8)]
    return trace(transform, examples, [axes], ["picture", "quality"], "latents", "analysis")


def export_synthesis(transform: SynthesisTransform) -> onnx.ModelProto:
    """Latents [B, L, h, w], qualities uint8 [B] -> picture float32 [B, 16 h, 16 w, 3]."""
    sides = {
        axis + 2: torch.export.Dim(name, min=1, max=4 * LARGEST_EXPORT)
        for axis, name in enumerate(("latent_height", "latent_width"))
    }
    batch = {0: torch.export.Dim("pictures", min=1, max=LARGEST_EXPORT)}
    examples = [
        torch.zeros(2, transform.first.in_channels, 8, 12),
        torch.tensor([DEFAULT_QUALITY] * 2, dtype=torch.uint8),
    ]
    return trace(transform, examples, [batch | sides, batch], ["latents", "quality"], "picture", "synthesis")
