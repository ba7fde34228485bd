"""From a CompressAI model to a bundle: `export_compressai`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import nn

from latentwire.export import measure
from latentwire.export.compressai.hyper import fit_hyper
from latentwire.export.compressai.models import FAMILY, Factorized, Hyperprior, Variable
from latentwire.export.compressai.quantize import SIDE, synthesis_to_int8, to_int8
from latentwire.export.compressai.state import CLASSES, Architecture, State, architecture_named
from latentwire.export.compressai.transforms import build_analysis, build_synthesis
from latentwire.export.compressai.verify import CompressaiVerifier
from latentwire.export.errors import ExportError
from latentwire.export.family import DEFAULT_QUALITY, Exported, check_precisions, identity_of
from latentwire.export.pictures import CONTRACT, LIMITS, SIZE_AXES, spread
from latentwire.export.planes import (
    BLOCK,
    PlaneModel,
    analysis_piece,
    build_pack,
    build_unpack,
    codec_id,
    synthesis_piece,
)
from latentwire.export.publish import Models, Publication, publish
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError

FIT_PICTURES = 16
FIT_SIDE = 512
"""Whole numbers and int8 are fitted to at most this many pictures, cut to this size."""
GOLDEN_SIDES = (128, 192)
SMALLEST = BLOCK
Picture = npt.NDArray[np.uint8]


def export_compressai(
    model: nn.Module | Mapping[str, Any],
    pictures: Sequence[Picture],
    out: str | Path,
    *,
    architecture: str | None = None,
    holdout: Sequence[Picture] | None = None,
    precisions: Sequence[str] = ("fp32",),
    publication: Publication | None = None,
) -> Exported:
    """Turn a CompressAI model into a bundle: whole numbers for its hyper network, tables as they are, assemble, verify.

    Args:
        model: one of CompressAI's models, on which ``update()`` was called, or its state dict.
        pictures: uint8 [H, W, 3] of at least 64 x 64, to which whole numbers and int8 are fitted.
        out: folder to write. It appears whole, or not at all.
        architecture: its name in CompressAI's zoo, such as "mbt2018-mean"; a model's own where None.
        holdout: other pictures, to verify on; every fourth of ``pictures`` is kept apart for that where None.
        precisions: variants of the transforms, of "fp32" and "int8", with fp32 among them.
        publication: what is said of the bundle, and to whom its making is told.

    Raises:
        ExportError: the model is of another architecture, has no tables yet, or there are too few pictures.
        SettingError: unknown precisions.
        QuantizationError: int8 cannot be made of it.
        ParityError: the finished bundle fails its own verification.
    """
    check_precisions(precisions)
    if "fp16" in precisions:
        raise SettingError("expected precisions of fp32 and int8, found fp16: squares of normalizations overflow in it")
    publication = publication or Publication()
    found = architecture_of(model, architecture)
    state = State(model.state_dict() if isinstance(model, nn.Module) else model, found.name)
    usable = large_enough(pictures)
    if holdout is None:
        held, fitted = usable[::4], [picture for at, picture in enumerate(usable) if at % 4] or usable
    else:
        held, fitted = large_enough(holdout), usable
    chosen = [middle(picture, FIT_SIDE) for picture in spread(fitted, FIT_PICTURES)]
    publication.on_stage("reading the transforms")
    network = build_analysis(state, found)
    publication.on_stage(f"whole numbers for its probability model, on {len(chosen)} pictures")
    own = model_of(state, found, network, chosen)
    identifier = codec_id(own)
    pack, unpack = build_pack(own, identifier), build_unpack(own, identifier, LIMITS)
    analysis, synthesis = {"fp32": analysis_piece(network)}, {"fp32": synthesis_piece(build_synthesis(state))}
    if "int8" in precisions:
        publication.on_stage("exporting the transforms: int8")
        whole = [blocks_of(picture) for picture in chosen]
        analysis["int8"] = analysis_piece(to_int8(network, whole))
        sent = decoded_latents(analysis["fp32"], pack, unpack, chosen)
        synthesis["int8"] = synthesis_piece(synthesis_to_int8(build_synthesis(state, shuffled=True), sent))
    return publish(
        out,
        identity_of(FAMILY, CONTRACT, identifier, SIZE_AXES, LIMITS),
        Models(pack, unpack, analysis, synthesis, "int64", "int8" if "int8" in precisions else "fp32"),
        publication,
        {
            "architecture": found.name,
            "fixed_rate": not found.variable,
            "pictures": len(chosen),
            "held_out_pictures": len(held),
        },
        middle(held[0], *GOLDEN_SIDES),
        lambda subject: CompressaiVerifier(subject, held),
        model if isinstance(model, nn.Module) else None,
        f"{len(held)} held-out pictures",
    )


def architecture_of(model: object, name: str | None) -> Architecture:
    """The architecture that is named, or that a model's class is.

    Raises:
        ExportError: nobody says which.
    """
    if name is not None:
        return architecture_named(name)
    known = next((CLASSES[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in CLASSES), None)
    if known is None:
        raise ExportError(
            f"expected one of CompressAI's models ({', '.join(CLASSES)}), found {type(model).__name__}: "
            'name the architecture of a state dict, as in architecture="mbt2018-mean"'
        )
    return architecture_named(known)


def model_of(
    state: State, architecture: Architecture, network: onnx.ModelProto, pictures: Sequence[Picture]
) -> PlaneModel:
    """The probability model, scaled to pictures where it is a network."""
    if not architecture.hyper:
        return Factorized(state)
    if any(key.startswith("gayn2zqstep.") for key in state.entries):
        raise ExportError(
            f"{state.name}: expected a bottleneck with one table a channel, found one whose step follows the gain "
            "(vr_entbttlnck): export a model without it"
        )
    medians = state.medians()
    session = measure.session(analysis_piece(network))
    symbols = [
        np.rint(session.run(None, {"input": picture})[0][0, : len(medians)] - medians[:, None, None])
        for picture in pictures
    ]
    kind = Variable if architecture.variable else Hyperprior
    return kind(state, fit_hyper(state, architecture, symbols))


def blocks_of(picture: Picture) -> Picture:
    """A picture uint8 [H, W, 3] as the network takes it, [1, 3, H', W'], what is beyond whole blocks cut off."""
    height, width = (length // BLOCK * BLOCK for length in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width].transpose(2, 0, 1)[None])


def decoded_latents(
    analysis: onnx.ModelProto, pack: onnx.ModelProto, unpack: onnx.ModelProto, pictures: Sequence[Picture]
) -> list[npt.NDArray[np.float32]]:
    """What the synthesis transform is given of pictures, cut to int8's calibration size."""
    encoder, coder = measure.session(analysis), measure.Coder(measure.session(pack), measure.session(unpack), SIZE_AXES)
    found = []
    for picture in pictures:
        part = middle(picture, SIDE)
        packet = coder.packet(encoder.run(None, {"input": part})[0], part.shape, DEFAULT_QUALITY)
        found.append(coder.restore(packet)["latents"])
    return found


def large_enough(pictures: Sequence[Picture]) -> list[Picture]:
    """Those of at least 64 x 64 in colour.

    Raises:
        ExportError: there are none.
    """
    kept = [picture for picture in pictures if min(picture.shape[:2]) >= SMALLEST and picture.shape[2:] == (3,)]
    if not kept:
        raise ExportError(
            f"expected pictures uint8 [H, W, 3] of at least {SMALLEST} x {SMALLEST}, found none among {len(pictures)}: "
            "name others"
        )
    return kept


def middle(picture: Picture, height: int, width: int | None = None) -> Array:
    """The middle of a picture, at most [height, width] pixels."""
    sides = [min(*pair) for pair in zip(picture.shape, (height, width or height), strict=False)]
    top, left = ((length - side) // 2 for length, side in zip(picture.shape, sides, strict=False))
    return np.ascontiguousarray(picture[top : top + sides[0], left : left + sides[1]])
