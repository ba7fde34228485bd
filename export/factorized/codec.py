"""From any autoencoder to a bundle: `export_codec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export import measure
from latentwire.export.adopt import read_data
from latentwire.export.errors import ExportError
from latentwire.export.factorized import fit
from latentwire.export.factorized.found import Told, find
from latentwire.export.factorized.judge import make_transforms
from latentwire.export.factorized.layout import RANGE_MARGIN, Family, Tensors
from latentwire.export.factorized.pack import build_pack, build_unpack
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.verify import ItemVerifier
from latentwire.export.family import Exported, check_precisions, identity_of
from latentwire.export.publish import Models, Publication, publish
from latentwire.runtime.contract import QUALITIES, Array, OutOfRange
from latentwire.runtime.errors import SettingError
from latentwire.runtime.plugins import Plugins

HOLDOUT_SHARE = 0.2
GOLDEN_ITEMS = 16
GOLDEN_VALUES = 1 << 17
"""Values of the golden items, at most: a bundle holds them five times."""
LEAST_CALIBRATION = 32
MAX_HOLDOUT = 2048
MAX_CALIBRATION = 60000
MAX_LATENTS = 1 << 24
"""Latents that tables are fitted to, at most, 64 MiB of them: of more an evenly spaced choice of items is taken."""
MAX_HELD_VALUES = 1 << 24
"""Values of the items that are verified on, at most."""


def export_codec(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    latent: int | str | Callable[[Any], Any] | None = None,
    latents: str | None = None,
    codebook: Any = None,
    planes: int | None = None,
    input_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output_range: tuple[float, float] | None = None,
    channels: str | None = None,
    dynamic: bool | Sequence[int] = False,
    data_range: tuple[float, float] | None = None,
    range_margin: float = RANGE_MARGIN,
    out_of_range: OutOfRange = "error",
    cast: bool = False,
    steps: float | npt.NDArray[np.float32] | None = None,
    precisions: Sequence[str] = ("fp32",),
    holdout: Any = None,
    family: Family | None = None,
    name: str | None = None,
    training: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Turn any autoencoder into a bundle: find its halves, measure, fit, export, quantize, assemble, verify, write.

    Args:
        model: an autoencoder with `encode` and `decode`, `encoder` and `decoder` or the like, or a pair of the two
            halves: modules, bound methods, functions, exported programs, ONNX files or models. The encoder takes
            float32 [N, ...] and returns latents [N, C], [N, C, ...] or [N, ..., C]; the decoder takes these.
        data: calibration items [N, ...] in their natural shape, real ones, at least 32: an array, tensor, DataLoader,
            Dataset, DataFrame, file or folder. Unless ``holdout`` is given, its last fifth (at most 2048 items) is kept
            apart to verify on.
        out: folder to write. It appears whole, or not at all.
        latent: which of the encoder's outputs the latents are: an index, a name or a function; the obvious one if None.
        latents: "indices" for encoders that return integers into codebooks (VQ-VAE, residual VQ), which are coded as
            they are: see `latentwire.export.indices.export_indices`.
        codebook: of indices, the size K, or the vectors [K, D], [planes, K, D] whose sum the decoder takes.
        planes: of indices, the axis of the planes in what the encoder returns, where that is not plain.
        input_range: where the data's range lies for the encoder, such as (-1, 1). If None it is found: integers of
            their full range go to [0, 1] and floats are handed over as they are, unless another usual range gives a
            clearly smaller error. With ``mean`` and ``std`` what these are of, (0, 1) if None.
        mean: what is subtracted from the encoder's input, one number or one a channel.
        std: what it is divided by then.
        output_range: where the decoder's output lies; if None it is as the encoder's input, or found.
        channels: "first" or "last": which axis of latents the channels are, whose positions share a table; if None the
            one that takes fewer bits.
        dynamic: the axes of items that vary from packet to packet, for networks that take any size: True for all behind
            the channels of [N, C, ...], or which, such as (1,) for windows [N, T, C].
        data_range: smallest and largest value of items; if None the whole range of integers, and of floats what the
            calibration items have.
        range_margin: of floats without ``data_range``: the codec takes values that lie beyond the smallest and largest
            by this part of their span; 0 for none.
        out_of_range: what becomes of items outside of the range, here and in ``holdout``: "error", "clip", "skip".
        cast: take items of other dtypes (float64, int64, bool) in one that a codec has, here and where they are
            encoded; the report says which.
        steps: quantization steps in latent units: float32 [256, C] from training, or one number, such as 1 where
            latents are whole numbers; fitted from the decoder's sensitivity if None.
        precisions: variants to write, of "fp32", "int8", "fp16"; fp32 must be among them, it is what others are
            compared with.
        holdout: items to verify on.
        family: what the items are and how their latents are laid out, instead of all that is found.
        name: the codec's name; the folder's by default.
        training: provenance of the networks, any JSON.
        calibration: provenance of ``data``, any JSON.
        overwrite: replace a bundle that is there.
        on_stage: told what is done next, in a few words.

    Raises:
        ExportError: a half cannot be found or exported, or the data does not fit; names which and why.
        SettingError: unknown precisions, or settings that contradict each other.
        QuantizationError: int8 cannot stay within its limits.
        ParityError: the finished bundle fails its own verification.
    """
    check_precisions(precisions)
    if latents is not None or codebook is not None or planes is not None:
        if steps is not None or family is not None or dynamic is not False:
            raise SettingError("expected none of steps, family and dynamic with indices, found one of them")
        return indices_family(latents, codebook).export_model(  # type: ignore[no-any-return]
            model,
            data,
            out,
            codebook=codebook,
            latent=latent,
            planes=planes,
            channels=channels,
            input_range=input_range,
            mean=mean,
            std=std,
            output_range=output_range,
            data_range=data_range,
            range_margin=range_margin,
            out_of_range=out_of_range,
            cast=cast,
            precisions=precisions,
            holdout=holdout,
            name=name,
            training=training,
            calibration=calibration,
            overwrite=overwrite,
            on_stage=on_stage,
        )
    items, notes, source = read_data(data, cast=cast)
    told = Told(
        latent, input_range, mean, std, output_range, channels, dynamic, data_range, range_margin, out_of_range, source
    )
    if holdout is not None:
        holdout, _, _ = read_data(holdout, cast=cast)
    items, held = split(items, holdout)
    found = find(model, items, held, told, family)
    reference, items, held, notes = found.reference, found.items, found.held, (*notes, *found.notes)
    family = reference.family
    on_stage(f"fitting tables to {len(items)} items")
    items, values = some_latents(reference, items)
    rows = latent_rows(reference, values)
    steps = fitted_steps(reference, items, values, rows) if steps is None else check_steps(steps, rows.shape[1])
    fitted = fit.fit_tables(rows, steps)
    codec_id = fitted.tables.codec_id(family.name, family.layout if isinstance(family, Tensors) else {})
    pack, unpack = (build(family, fitted.tables, codec_id) for build in (build_pack, build_unpack))
    on_stage(f"exporting the transforms: {', '.join(precisions)}")
    coder = measure.Coder(measure.session(pack), measure.session(unpack), family.size_axes)
    transforms = make_transforms(reference, coder, items, held, values, precisions)
    facts = {
        "items": len(items),
        "held_out_items": len(held),
        "table_excess_over_entropy": round(fitted.clustering_loss, 6),
        "layers_kept_float": {role: list(layers) for role, layers in transforms.float_layers.items()},
        **({"notes": [*notes, *transforms.notes]} if notes or transforms.notes else {}),
    }
    return publish(
        out,
        identity_of(family.name, family.contract, codec_id, family.size_axes, family.limits),
        Models(pack, unpack, transforms.analysis, transforms.synthesis, "int64"),
        Publication(name, training, calibration, overwrite, on_stage),
        facts,
        held[: fitting(held, GOLDEN_ITEMS, GOLDEN_VALUES)],
        lambda subject: ItemVerifier(subject, held),
        reference,
        f"{len(held)} held-out items",
    )


def indices_family(latents: str | None, codebook: Any) -> Any:
    """The family of codecs of indices; it is found as any other, since it stands above this one.

    Raises:
        SettingError: only one of the two options is given, or other latents than indices.
    """
    if latents != "indices" or codebook is None:
        found = f"latents={latents!r} with{'out' if codebook is None else ''} a codebook"
        raise SettingError(f'expected latents="indices" and codebook= together, found {found}')
    return Plugins("latentwire.families.export", "a family").load("indices")


def split(data: Array, holdout: Array | None) -> tuple[Array, Array]:
    """(calibration items, held-out items)."""
    if len(data) < LEAST_CALIBRATION:
        raise ExportError(f"calibration needs at least {LEAST_CALIBRATION} real items, found {len(data)}")
    most = fitting(data, MAX_HOLDOUT, MAX_HELD_VALUES)
    if holdout is not None:
        return data[:MAX_CALIBRATION], holdout[:most]
    kept = min(most, max(1, int(len(data) * HOLDOUT_SHARE)))
    return data[:-kept][:MAX_CALIBRATION], data[-kept:]


def fitting(items: Array, most: int, values: int) -> int:
    """How many items of that shape have no more than so many values."""
    return max(1, min(most, values // max(1, int(np.prod(items.shape[1:])))))


def some_latents(reference: Reference, items: Array) -> tuple[Array, npt.NDArray[np.float32]]:
    """Items, evenly spaced where there are too many, and their latents."""
    first = reference.latents(items[:2])
    apart = -(-len(items) * first[0].size // MAX_LATENTS)
    chosen = items[::apart] if len(items) // apart >= LEAST_CALIBRATION else items[:LEAST_CALIBRATION]
    return chosen, reference.latents(chosen)


def latent_rows(reference: Reference, latents: Array) -> npt.NDArray[np.float32]:
    """Latents as rows [P, C], checked to be finite."""
    rows = reference.rows(latents)
    if not np.isfinite(rows).all():
        raise ExportError("the encoder returns latents that are not finite on the calibration data")
    return rows


def check_steps(steps: float | npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """Float32 [256, C], positive and finite."""
    wanted, given = (QUALITIES, channels), np.asarray(steps, np.float32)
    if given.shape not in ((), wanted) or not (np.isfinite(given).all() and (given > 0).all()):
        raise ExportError(
            f"steps must be positive, one number or of shape {list(wanted)}, found shape {list(given.shape)}"
        )
    return np.array(np.broadcast_to(given, wanted))


def fitted_steps(
    reference: Reference, items: Array, latents: Array, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Steps from the decoder's sensitivity and the transforms' own error."""
    return fit.fit_steps(rows, reference.sensitivity(latents), reference.own_error(items, latents))
