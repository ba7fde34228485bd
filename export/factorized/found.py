"""What an autoencoder is that nobody described.

Its halves, the range of its items, where they lie for its networks and which axis of its latents the channels are: what
is told is taken, and what is not told is measured on the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.adopt import Halves, adopt
from latentwire.export.errors import ExportError, HalfError
from latentwire.export.factorized.grids import COMMON_BLOCK, filled, grids_of, varying
from latentwire.export.factorized.layout import Family, Tensors, wider
from latentwire.export.factorized.onnx_reference import OnnxReference
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.scaling import Affine, Scaling, as_float, between, standardized
from latentwire.runtime.contract import Array, ItemContract, OutOfRange
from latentwire.runtime.errors import SettingError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of the channels of pictures in [0, 1], as torchvision's models have them."""
SAMPLE, SAMPLE_VALUES = 256, 1 << 20
"""Items that scalings are compared on, and values of them, at most."""
BETTER = 0.8
"""Another scaling is taken where nothing is told, if its squared error is at most this part of the usual one's."""
CONTRADICTED = 0.5
"""An export stops if another scaling has at most this part of the squared error of what was told."""
USELESS = 0.5
"""Part of the items' variance: networks with a larger error do not tell scalings apart."""
CLEARER = 0.05
"""Nats a latent that the last axis must save to be taken for the channels."""


@dataclass(frozen=True)
class Told:
    """What the caller of `export_codec` says of a model and its items; see there."""

    latent: int | str | Callable[[Any], Any] | None = None
    input_range: tuple[float, float] | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None
    output_range: tuple[float, float] | None = None
    channels: str | None = None
    dynamic: bool | Sequence[int] = False
    data_range: tuple[float, float] | None = None
    range_margin: float = 0.0
    out_of_range: OutOfRange = "error"
    source: str = ""
    """The dtype that items came in."""

    def __post_init__(self) -> None:
        if not 0 <= self.range_margin < np.inf:
            raise SettingError(f"expected a margin of the range from 0, found {self.range_margin!r}")
        if self.channels not in (None, "first", "last"):
            raise SettingError(f"expected channels first or last, found {self.channels!r}")
        if (self.mean is None) != (self.std is None):
            raise SettingError("expected mean and std together, found one of them")
        for name in ("input_range", "output_range", "data_range"):
            pair = getattr(self, name)
            if pair is not None and not (len(pair) == 2 and -np.inf < pair[0] < pair[1] < np.inf):
                raise SettingError(f"expected {name} as two finite numbers, the smaller first, found {pair!r}")
        if self.std is not None and not (np.asarray(self.std, float) > 0).all():
            raise SettingError(f"expected std above 0, found {self.std!r}")

    @property
    def scaling(self) -> bool:
        """Whether it says where items lie for the encoder."""
        return self.input_range is not None or self.mean is not None


@dataclass(frozen=True)
class Found:
    """An autoencoder as a codec is made of it.

    Attributes:
        reference: its networks and layout.
        items: to calibrate with, inside of the contract's range.
        held: to verify on.
        notes: what was found, in sentences.
    """

    reference: Reference
    items: Array
    held: Array
    notes: tuple[str, ...]


def find(model: Any, items: Array, held: Array, told: Told, family: Family | None) -> Found:
    """Everything that is to be known of a model before tables can be fitted.

    Args:
        model: see `export_codec`.
        items: of a contract's dtype, [N, ...].
        held: more of them.
        told: what the caller says.
        family: the layout; found if None.

    Raises:
        ExportError: the halves cannot be found, or what is told is contradicted by what the networks do.
        InputError: items are outside of the range, and are not to be moved into it.
    """
    contract, seen = (family.contract, family.contract.range) if family is not None else contract_of(items, told)
    items, held, notes = inside(contract, items, held, told.out_of_range)
    if family is not None:
        halves = adopt(model, as_array(family.normalize, items[:4]), latent=told.latent)
        return Found(reference_of(family, halves), items, held, (*notes, *halves.notes))
    candidates = list(scalings(told, contract.dtype, seen, items))
    axes = varying(told.dynamic, items.ndim) if told.dynamic else ()
    sample = filled(items[:SAMPLE], axes, COMMON_BLOCK)
    sample = sample[: max(2, measure.together(sample.shape[1:], SAMPLE))]
    try:
        halves = adopt(model, candidates[0].into(as_float(sample[:4])), latent=told.latent)
    except HalfError as error:
        if axes:
            raise ExportError(f"{error}; sizes are tried because of dynamic=: leave it out for one size") from error
        raise
    trial = Trial(halves, contract, sample)
    scaling, said = choose(candidates, told, trial)
    channels = told.channels or (trial.fixed(axes) if axes else None)
    layout, axis = with_channels(Tensors(contract, trial.shape, scaling=scaling), trial.latents(scaling), channels)
    if axes:
        layout = grids_of(layout, axes, trial.shapes)
        end = "last" if layout.channels_last else "first"
        axis = [f"sizes vary in blocks of {layout.block}; latents have {layout.channels} channels along the {end} axis"]
    return Found(trial.reference.laid_out(layout), items, held, (*notes, *halves.notes, *said, *axis))


def contract_of(items: Array, told: Told) -> tuple[ItemContract, tuple[float, float]]:
    """The contract, and the range that scalings are about: of floats without the margin."""
    contract = ItemContract.of(items)
    if told.source not in ("", contract.dtype):
        contract = replace(contract, casts=(told.source,))
    if told.data_range is not None:
        return replace(contract, range=told.data_range), told.data_range
    if contract.dtype != "float32":
        return contract, contract.range
    if not np.isfinite(items).all():
        contract.validate(items)  # says where
    low, high = float(items.min()), float(items.max())
    if not low < high:
        raise ExportError(f"expected items of more than one value, found {low:g} everywhere: give data_range=")
    if told.input_range is not None and told.input_range[0] <= low and high <= told.input_range[1]:
        return replace(contract, range=told.input_range), told.input_range
    return wider(replace(contract, range=(low, high)), told.range_margin), (low, high)


def inside(contract: ItemContract, items: Array, held: Array, policy: OutOfRange) -> tuple[Array, Array, list[str]]:
    """Both kinds of items inside of the contract's range, and what was done to those that were not."""
    notes, kept = [], []
    for part, name in ((items, "calibration"), (held, "held-out")):
        within, strays = contract.within(part, policy)
        kept.append(within)
        if strays.clipped or strays.skipped:
            notes.append(f"{len(strays.clipped)} {name} items were clipped, {len(strays.skipped)} left out")
        if not len(within):
            raise ExportError(f"expected {name} items in [{contract.range[0]:g}, {contract.range[1]:g}], found none")
    return kept[0], kept[1], notes


def as_array(normalize: Callable[[Any], Any], items: Array) -> Array:
    """What a family makes of items, whether it takes tensors only or arrays too."""
    try:
        return np.asarray(normalize(items), np.float32)
    except AttributeError:
        import torch

        return normalize(torch.tensor(items)).numpy()  # type: ignore[no-any-return]


def reference_of(family: Family, halves: Halves) -> Reference:
    """The networks as they are: torch where a half is a module, ONNX alone where both are files."""
    if isinstance(halves.encoder, onnx.ModelProto) and isinstance(halves.decoder, onnx.ModelProto):
        return OnnxReference.of(family, halves.encoder, halves.decoder)
    if isinstance(halves.encoder, onnx.ModelProto) or isinstance(halves.decoder, onnx.ModelProto):
        raise ExportError("expected two torch modules or two ONNX models, found one of each: export the module to ONNX")
    from latentwire.export.factorized.torch_reference import TorchReference

    return TorchReference.of(family, halves.encoder, halves.decoder)


def scalings(told: Told, dtype: str, seen: tuple[float, float], items: Array) -> Iterator[Scaling]:
    """What is told, or what is usual; then all else that is usual. The first of them is taken if none is better."""
    whole = dtype != "float32"
    asis = Scaling()
    usual = [(between(seen, target), f"[{target[0]:g}, {target[1]:g}]") for target in ((0.0, 1.0), (-1.0, 1.0))]
    entries = [*usual, (asis.into, asis.said)] if whole else [(asis.into, asis.said), *usual]
    unit = between(seen, (0.0, 1.0))
    sample = as_float(items[: measure.together(items.shape[1:], SAMPLE)])
    entries.append((standardized([float(sample.mean())], [float(sample.std()) or 1.0], 1), "mean 0, deviation 1"))
    axis = next((axis for axis in (1, items.ndim - 1) if items.ndim > 2 and items.shape[axis] == 3), None)
    if whole and axis is not None:
        entries.append((standardized(*IMAGENET, axis).after(unit), "mean and deviation of ImageNet"))
    if told.scaling:
        entries.insert(0, (as_told(told, whole, seen, items), "what was told"))
    for into, said in entries:
        for back, output in outputs(told, seen, into):
            yield Scaling(into, back, f"{said}{output}")


def outputs(told: Told, seen: tuple[float, float], into: Affine) -> Iterator[tuple[Affine, str]]:
    """Where the decoder's output may lie."""
    if told.output_range is not None:
        yield between(told.output_range, seen), ""
        return
    yield into.inverse(), ""
    unit = between((0.0, 1.0), seen)
    if unit != into.inverse():
        yield unit, ", and the decoder's output in [0, 1]"


def as_told(told: Told, whole: bool, seen: tuple[float, float], items: Array) -> Affine:
    """The scaling of the options."""
    if told.input_range is not None:
        into = between(seen, told.input_range)
    else:
        into = between(seen, (0.0, 1.0)) if whole else Affine()
    if told.mean is None or told.std is None:
        return into
    mean, std = (np.atleast_1d(np.asarray(part, float)).tolist() for part in (told.mean, told.std))
    if len(mean) != len(std):
        raise SettingError(f"expected as many of std as of mean, found {len(std)} and {len(mean)}")
    axes = [axis for axis in (1, items.ndim - 1) if items.shape[axis] == len(mean)]
    if len(mean) > 1 and not axes:
        raise SettingError(
            f"expected mean and std of one number or one a channel, found {len(mean)} for items {list(items.shape[1:])}"
        )
    return standardized(mean, std, axes[0] if axes else 1).after(into)


class Trial:
    """Runs the networks alone, without any quantization, under a scaling."""

    def __init__(self, halves: Halves, contract: ItemContract, items: Array) -> None:
        self.reference = reference_of(Tensors(contract, (1,)), halves)
        self._contract, self._items = contract, items
        self.shape: tuple[int, ...] = self.latents(Scaling()).shape[1:]
        low, high = contract.range
        self.variance = float((items.astype(np.float64) / (high - low)).var())

    def latents(self, scaling: Scaling) -> Array:
        """Of the items."""
        return self._under(scaling).latents(self._items)

    def shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of latents and output for items of that shape."""
        latents = self.reference.latents(np.resize(self._items[:2], (2, *shape[1:])))
        return latents.shape, self.reference.output(latents, shape).shape

    def fixed(self, axes: tuple[int, ...]) -> str | None:
        """Which end of the latents has a length that does not vary with those axes of items; None where both do."""
        before = self._items.shape
        after, _ = self.shapes(tuple(2 * length if at in axes else length for at, length in enumerate(before)))
        if len(after) > 2 and after[1] == self.shape[0]:
            return "first"
        return "last" if after[-1] == self.shape[-1] else None

    def error(self, scaling: Scaling) -> float:
        """Mean squared error with the range scaled to 1; infinite where it is no number."""
        reference = self._under(scaling)
        restored = reference.output(reference.latents(self._items), self._items.shape)
        restored = restored if self._contract.dtype == "float32" else np.rint(restored)
        error = measure.mse(self._items, restored, self._contract)
        return error if np.isfinite(error) else np.inf

    def _under(self, scaling: Scaling) -> Reference:
        return self.reference.laid_out(Tensors(self._contract, (1,), scaling=scaling))


def choose(candidates: Sequence[Scaling], told: Told, trial: Trial) -> tuple[Scaling, list[str]]:
    """The scaling to take, and what is to be said of it.

    Raises:
        ExportError: what was told is clearly worse than what is usual.
    """
    # What was told may leave open where the output lies.
    own = sum(scaling.said.startswith("what was told") for scaling in candidates) or 1
    errors = [trial.error(scaling) for scaling in candidates]
    first = int(np.argmin(errors[:own]))
    best = int(np.argmin(errors))
    if errors[best] > USELESS * trial.variance:
        share = errors[first] / max(trial.variance, 1e-12)
        return candidates[first], [
            f"the networks alone lose {100 * share:.0f} % of the items' variance, whatever the range of their input: "
            "are they trained, and is this their data?"
        ]
    chosen, found = candidates[first], candidates[best]
    if told.scaling:
        if errors[best] < CONTRADICTED * errors[first]:
            raise ExportError(
                f"expected a scaling that the networks were trained with, found one under which they alone have a mean "
                f"squared error of {errors[first]:.3g} (range scaled to 1), and {errors[best]:.3g} with items in "
                f"{found.said}: give input_range=, mean= and std= as in training, or leave them out"
            )
        return chosen, []
    if errors[best] < BETTER * errors[first]:
        return found, [
            f"items go to the encoder in {found.said}, found by the error of the networks alone: {errors[best]:.3g}, "
            f"with {chosen.said} {errors[first]:.3g}"
        ]
    return chosen, []


def with_channels(layout: Tensors, latents: Array, told: str | None) -> tuple[Tensors, list[str]]:
    """The layout with its channels along the axis that is told, or that takes fewer bits; and what was found."""
    if len(layout.contract.shape) == 2 and len(layout.latents) == 1:
        return replace(layout, name="dense"), []
    if len(layout.latents) == 1:
        return layout, []
    first, last = (replace(layout, channels_last=value) for value in (False, True))
    if told is not None:
        return (last if told == "last" else first), []
    found = last if nats(last, latents) < nats(first, latents) - CLEARER else first
    axis = "last" if found is last else "first"
    return found, [
        f"latents {list(layout.latents)} are {found.channels} channels along the {axis} axis, whose positions share a "
        "table each"
    ]


def nats(layout: Tensors, latents: Array) -> float:
    """What a latent takes more or less than another layout's, were its channels Gaussian."""
    spread = layout.rows(latents).astype(np.float64).var(0)
    return float(0.5 * np.log(np.maximum(spread, 1e-12 * max(float(spread.max()), 1e-300))).mean())
