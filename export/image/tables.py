"""What both sides of an image codec agree on, as arrays: integer network, tables, gains; and its hash, the codec id."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import EXACT, TOTAL, Layer
from latentwire.runtime.wire import PACKET_VERSION

FAMILY = "image"
SIXTEENTHS = 16
"""Means, decoded latents and row offsets are counted in sixteenths: of a quantization step, of a row."""
PATCH = 16
"""Pixels per latent position, each way."""
HYPER_PATCH = 64
"""Pixels per hyper-latent position, each way; pictures are padded to a multiple of it."""
HYPER_ZERO = 128
"""The byte that stands for hyper-latent 0."""
STATES = "31 bits, filled"
"""How the packet holds the lanes' states: what has other ones is another codec."""
SPAN = 255
"""The highest quality; between two knots the weight moves in that many parts."""


def knot_of(quality: int, knots: int) -> tuple[int, int]:
    """(The knot below a quality, parts of 255 of the way to the next one); both sides interpolate linearly."""
    place = quality * (knots - 1)
    knot = min(place // SPAN, knots - 2)
    return knot, place - knot * SPAN


@dataclass(frozen=True)
class Knobs:
    """What quality selects, at K knots and linear between them.

    Attributes:
        gain: float32 [K, L], sixteenths of a step per latent unit.
        base: int32 [K, L], sixteenths of a row, added to what the network says.
    """

    gain: npt.NDArray[np.float32]
    base: npt.NDArray[np.int32]

    def gain_at(self, quality: int) -> npt.NDArray[np.float32]:
        """Sixteenths of a step per latent unit at one quality, float32 [L], in the graph's own arithmetic."""
        knot, share = knot_of(quality, len(self.gain))
        weighted = self.gain[knot] * np.float32(SPAN - share) + self.gain[knot + 1] * np.float32(share)
        return weighted / np.float32(SPAN)  # type: ignore[no-any-return]

    def base_at(self, quality: int) -> npt.NDArray[np.int32]:
        """Sixteenths of a row at one quality, int32 [L]."""
        knot, share = knot_of(quality, len(self.base))
        weighted = self.base[knot] * np.int32(SPAN - share) + self.base[knot + 1] * np.int32(share)
        return np.floor_divide(weighted, np.int32(SPAN))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Stage:
    """The layers that predict one group of channels.

    Attributes:
        channels: how many latents.
        context: bytes of the earlier groups (magnitudes, then positive parts) -> bytes; None for the first group.
        hidden: hyper features and context -> bytes.
        mean: hidden and hyper features -> sixteenths of a step; None where means are 0.
        row: hidden and hyper features -> sixteenths of a row.
    """

    channels: int
    context: Layer | None
    hidden: Layer
    mean: Layer | None
    row: Layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All that there are."""
        return tuple(layer for layer in (self.context, self.hidden, self.mean, self.row) if layer is not None)


MARGIN = 1 << 20
"""What quality or rounding may add to a layer's sums, at most."""


@dataclass(frozen=True)
class Network:
    """The integer network that turns hyper-latents and decoded latents into means and rows."""

    expand: tuple[Layer, ...]
    """Each followed by a pixel shuffle: hyper-latents to features at the latents' resolution."""
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer.reach + MARGIN >= EXACT:
                raise ValueError(f"{layer.name}: sums may reach {layer.reach + MARGIN}, float32 is exact below {EXACT}")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers."""
        return (*self.expand, *(layer for stage in self.stages for layer in stage.layers))


@dataclass(frozen=True)
class ImageTables:
    """Everything between the transforms and the bytes, for L latents and Z hyper-latents.

    Attributes:
        network: the integer network.
        analysis: layers of the hyper-analysis, the encoder's own affair.
        rounding: float32 [R], by row what is added to the magnitude of a latent, in steps, before it is cut off to a
            whole number; at most 1/2. The encoder's own affair.
        knobs: what quality selects.
        hyper_curve: uint8 [256], which row of ``hyper_index`` a quality has.
        hyper_index: uint8 [C, Z], row of ``hyper_frequency`` of each hyper-latent.
        hyper_frequency: uint16 [D, S], each row sums to 4096; the last column is the escape, column k is symbol
            k - (S - 1) / 2. Row 0 is the certain one: what belongs to it is 0 and not coded.
        frequency: uint16 [R, M + 1], of the latents' symbols, to whose sign the rows are blind: column 0 is symbol 0,
            column k is k and is -k, the last is the escape; with both signs each row sums to 4096. Row 0 is certain.
    """

    network: Network
    analysis: tuple[Layer, ...]
    rounding: npt.NDArray[np.float32]
    knobs: Knobs
    hyper_curve: npt.NDArray[np.uint8]
    hyper_index: npt.NDArray[np.uint8]
    hyper_frequency: npt.NDArray[np.uint16]
    frequency: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        hyper, latents = self.hyper_frequency.astype(np.int64), self.frequency.astype(np.int64)
        if (hyper.sum(1) != TOTAL).any() or (latents.sum(1) + latents[:, 1:-1].sum(1) != TOTAL).any():
            raise ValueError(f"every table row must sum to {TOTAL}")

    @property
    def latents(self) -> int:
        """L."""
        return int(self.knobs.gain.shape[1])

    @property
    def latent_shape(self) -> list[int | str]:
        """Of the latents as a graph declares them, [1, L, h, w]."""
        return [1, self.latents, "latent_height", "latent_width"]

    @property
    def hyper(self) -> int:
        """Z."""
        return int(self.hyper_index.shape[1])

    def hyper_rows(self, quality: int) -> npt.NDArray[np.uint8]:
        """Table rows of the hyper-latents at one quality, uint8 [Z]."""
        return self.hyper_index[self.hyper_curve[quality]]  # type: ignore[no-any-return]

    @property
    def latent_rows(self) -> int:
        """R."""
        return len(self.frequency)

    @property
    def magnitudes(self) -> int:
        """M, how many magnitudes the latents' tables hold, 0 among them."""
        return int(self.frequency.shape[1]) - 1

    def codec_id(self) -> bytes:
        """SHA-256 over the contract; floats enter by their bytes, so nothing is ever recomputed."""
        parts: dict[str, npt.NDArray[Any]] = {
            "gain": self.knobs.gain,
            "base": self.knobs.base,
            "hyper_curve": self.hyper_curve,
            "hyper_index": self.hyper_index,
            "hyper_frequency": self.hyper_frequency,
            "frequency": self.frequency,
        }
        for layer in self.network.layers:
            parts |= layer.arrays()
        head = {
            "packet_version": PACKET_VERSION,
            "family": FAMILY,
            "states": STATES,
            "latent_rows": self.latent_rows,
            "groups": [stage.channels for stage in self.network.stages],
            "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in parts.items()},
        }
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name in sorted(parts):
            digest.update(np.ascontiguousarray(parts[name]).tobytes())
        return digest.digest()
