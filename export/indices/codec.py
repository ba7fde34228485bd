"""From a network that chooses codewords to a bundle: `export_indices`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.export import measure
from latentwire.export.adopt import Halves, read_data
from latentwire.export.errors import ExportError
from latentwire.export.factorized import (
    GOLDEN_ITEMS,
    GOLDEN_VALUES,
    Scaling,
    Tensors,
    Told,
    Trial,
    as_float,
    choose,
    contract_of,
    fitting,
    inside,
    make_transforms,
    scalings,
    some_latents,
    split,
)
from latentwire.export.family import DEFAULT_QUALITY, Exported, check_precisions, identity_of
from latentwire.export.indices import fit
from latentwire.export.indices.codebooks import codebooks_of
from latentwire.export.indices.find import Found, find_halves
from latentwire.export.indices.layout import NAME, Indexed
from latentwire.export.indices.pack import build_pack
from latentwire.export.indices.tables import Whole, planes_by_quality
from latentwire.export.indices.unpack import build_unpack
from latentwire.export.indices.verify import IndexReference, IndexVerifier
from latentwire.export.publish import Models, Publication, publish
from latentwire.export.transforms import freeze
from latentwire.runtime.contract import Array, ItemContract, OutOfRange

BEST_QUALITY = 255
MAX_SITES = 1 << 16
"""Indices of an item."""
EXAMPLES = 4
RANGE_MARGIN = 0.05


def export_indices(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    codebook: Any,
    latent: int | str | Callable[[Any], Any] | None = None,
    planes: int | None = None,
    channels: str | None = None,
    input_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output_range: tuple[float, float] | None = None,
    data_range: tuple[float, float] | None = None,
    range_margin: float = RANGE_MARGIN,
    out_of_range: OutOfRange = "error",
    cast: bool = False,
    precisions: Sequence[str] = ("fp32",),
    holdout: Any = None,
    name: str | None = None,
    training: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Turn a network whose latents are indices into codebooks (VQ-VAE, residual VQ) into a bundle, quantizing nothing.

    Args:
        model: one model, or a pair of halves in torch, as `export_codec` takes it. The encoder returns integers
            [N, P...], of several planes [N, R, P...], [R, N, P...] or [N, P..., R].
        data: calibration items, as there.
        out: folder to write. It appears whole, or not at all.
        codebook: K, or the vectors [K, D], of residual planes [R, K, D]; also a list, one a plane, and `nn.Embedding`.
            With sizes alone the decoder takes indices as the encoder returns them, and all planes are always sent. With
            vectors it takes the sum of the chosen ones, [N, D, P...] or [N, P..., D], and quality says how many planes
            are sent: 1 + quality * R // 256.
        latent: which of the encoder's outputs the indices are; the integers if None.
        planes: axis of the planes in them; if None one as long as there are codebooks.
        channels: "first" or "last": where the decoder wants D; what works, and better, if None.
        input_range: see `export_codec`, as for all that follow.
        mean: see there.
        std: see there.
        output_range: see there.
        data_range: see there.
        range_margin: see there.
        out_of_range: see there.
        cast: see there.
        precisions: see there.
        holdout: see there.
        name: see there.
        training: see there.
        calibration: see there.
        overwrite: see there.
        on_stage: see there.

    Raises:
        ExportError: a half cannot be found or exported, or the data or the codebooks do not fit; names which and why.
        SettingError: unknown precisions, or settings that contradict each other.
        QuantizationError: int8 cannot stay within its limits.
        ParityError: the finished bundle fails its own verification.
    """
    check_precisions(precisions)
    books = codebooks_of(codebook)
    items, notes, source = read_data(data, cast=cast)
    told = Told(
        latent=latent,
        input_range=input_range,
        mean=mean,
        std=std,
        output_range=output_range,
        channels=channels,
        data_range=data_range,
        range_margin=range_margin,
        out_of_range=out_of_range,
        source=source,
    )
    items, held = split(items, None if holdout is None else read_data(holdout, cast=cast)[0])
    contract, seen = contract_of(items, told)
    items, held, moved = inside(contract, items, held, out_of_range)
    candidates = list(scalings(told, contract.dtype, seen, items))
    example = candidates[0].into(as_float(items[:EXAMPLES]))
    found = find_halves(model, example, books, latent=latent, planes=planes, channels=channels)
    scaling, said = scaling_of(found, contract, items, candidates, told)
    layout = layout_of(found, contract, scaling, items[:EXAMPLES])
    reference = IndexReference(layout, freeze(found.encoder, "encoder"), freeze(found.decoder, "decoder"))
    on_stage(f"fitting tables to {len(items)} items")
    items, latents = some_latents(reference, items)
    fitted = fit.fit_tables(
        checked(latents, found.sizes),
        found.sizes,
        layout.shape[1:],
        planes_by_quality(len(found.sizes), all_of_them=not found.nested),
    )
    codec_id = fitted.tables.codec_id(NAME, layout.shape)
    pack, unpack = (build(layout, fitted.tables, codec_id) for build in (build_pack, build_unpack))
    on_stage(f"exporting the transforms: {', '.join(precisions)}")
    coder = measure.Coder(measure.session(pack), measure.session(unpack), layout.size_axes)
    transforms = make_transforms(reference, coder, items, held, latents, precisions)
    facts = {
        "items": len(items),
        "held_out_items": len(held),
        "codebooks": list(found.sizes),
        "indices": [
            {"plan": plan, "bits": round(bits, 4), "bits_by_position_alone": round(alone, 4)}
            for plan, bits, alone in zip(fitted.plans, fitted.bits, fitted.alone, strict=True)
        ],
        "layers_kept_float": {role: list(layers) for role, layers in transforms.float_layers.items()},
        "notes": [*notes, *moved, *found.notes, *said, *transforms.notes],
    }
    identity = identity_of(NAME, contract, codec_id, layout.size_axes, layout.limits)
    return publish(
        out,
        replace(identity, default_quality=BEST_QUALITY if found.nested else DEFAULT_QUALITY),
        Models(pack, unpack, transforms.analysis, transforms.synthesis, "int64"),
        Publication(name, training, calibration, overwrite, on_stage),
        facts,
        held[: fitting(held, GOLDEN_ITEMS, GOLDEN_VALUES)],
        lambda subject: IndexVerifier(subject, held),
        reference,
        f"{len(held)} held-out items",
    )


def scaling_of(
    found: Found, contract: ItemContract, items: Array, candidates: Sequence[Scaling], told: Told
) -> tuple[Scaling, list[str]]:
    """Where items lie for the networks, told or found, and what is to be said of it."""
    sample = items[: measure.together(items.shape[1:], 256)]
    trial = Trial(Halves(found.encoder, found.decoder, ()), contract, sample)
    return choose(candidates, told, trial)


def layout_of(found: Found, contract: ItemContract, scaling: Scaling, items: Array) -> Indexed:
    """How items and their maps of indices are laid out."""
    layout = Indexed(Tensors(contract, (1,), scaling=scaling), (1,))
    shape = IndexReference(layout, found.encoder, found.decoder).latents(items).shape[1:]
    if int(np.prod(shape)) > MAX_SITES:
        raise ExportError(f"expected at most {MAX_SITES} indices an item, found {list(shape)}")
    return replace(layout, shape=tuple(shape))


def checked(latents: Array, sizes: tuple[int, ...]) -> Whole:
    """Indices int64 [N, R, P] of maps float32 [N, R, P...], all of them of their codebooks.

    Raises:
        ExportError: one is not; names it.
    """
    indices = latents.reshape(len(latents), len(sizes), -1).astype(np.int64)
    for plane, size in enumerate(sizes):
        least, most = int(indices[:, plane].min()), int(indices[:, plane].max())
        if least < 0 or most >= size:
            raise ExportError(
                f"expected indices from 0 to {size - 1} in plane {plane}, a codebook of {size}, found {least} to "
                f"{most}: give the codebook's size as codebook="
            )
    return indices
