"""A codec at work on items: what the pages of `explore` are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from latentwire.export import measure
from latentwire.export.errors import ExportError
from latentwire.export.pages.drawing import (
    Look,
    look_of,
)
from latentwire.runtime.bundle import Manifest, open_bundle
from latentwire.runtime.contract import Array
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import InputShapeError
from latentwire.train.dense import OBJECTIVES, ObjectiveSettings

MAPPED = 3000
"""Items on the map, the most that are loaded."""
PACKET_ITEMS = 64


@dataclass(frozen=True)
class RoundTrip:
    """Items after the way through packets."""

    bytes_per_item: float
    mse: float
    """Items scaled to [0, 1]."""
    items: Array


@dataclass(frozen=True)
class Scene:
    """A codec at work on items: what every page is drawn from.

    Attributes:
        manifest: of its bundle.
        encoder: makes the packets that are drawn.
        decoder: reads them.
        synthesis: the decoder's, for codes that never were in a packet.
        items: [N, ...] of the contract.
        labels: of the items, [N]; None where they have none.
        look: how an item is drawn.
        seed: of everything that is drawn at random.
    """

    manifest: Manifest
    encoder: Encoder
    decoder: Decoder
    synthesis: ort.InferenceSession
    items: Array
    labels: Array | None
    look: Look
    seed: int

    def send(self, items: Array, quality: int, batch: int = PACKET_ITEMS) -> RoundTrip:
        """Encode ``items`` in packets of ``batch`` and decode them."""
        packets = list(self.encoder.encode_stream(items, quality, batch=batch))
        restored = np.concatenate(self.decoder.decode_many(packets))
        length = sum(map(len, packets)) / len(items)
        return RoundTrip(length, measure.mse(items, restored, self.manifest.input), restored)

    def latents(self, items: Array) -> Array:
        """Dequantized latents at the default quality, a row float32 [K] for each item, however they are laid out."""
        packets = self.encoder.encode_stream(items, self.manifest.default_quality)
        found = [self.decoder.latents(packet) for packet in packets]
        return np.concatenate(found).reshape(len(items), -1)

    def synthesize(self, latents: Array) -> Array:
        """Items of latents [N, K], by the synthesis piece."""
        shape = [size if isinstance(size, int) else -1 for size in self.synthesis.get_inputs()[0].shape]
        return measure.run_batched(self.synthesis, "latents", latents.reshape(shape))

    def random(self, page: int) -> np.random.Generator:
        """A page's own random numbers: one page's draws do not change another's."""
        return np.random.default_rng((self.seed, page))


@dataclass(frozen=True)
class Labelled:
    """Items to draw.

    Attributes:
        items: [N, ...] as the codec takes them.
        item_shape: of one item before it became a vector.
        labels: one for each item, [N], or None.
    """

    items: Array
    item_shape: tuple[int, ...]
    labels: Array | None = None


def open_scene(bundle: str | Path, data: Labelled, seed: int) -> Scene:
    """Load codec and data, and check that they belong together."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    encoder, decoder = Encoder(opened), Decoder(opened)
    if not encoder.batches:
        raise ExportError(f"explore draws items of one size, but {manifest.name} takes {manifest.family} of any size")
    manifest.input.validate(data.items)
    if len(data.items) < 2:
        raise InputShapeError(f"expected at least 2 items to compare, found {len(data.items)}")
    synthesis = measure.session(opened.read_model("synthesis", decoder.variant))
    chosen = choose(len(data.items), data.labels, seed)
    return Scene(
        manifest,
        encoder,
        decoder,
        synthesis,
        data.items[chosen],
        None if data.labels is None else data.labels[chosen],
        look_of(manifest.input, data.item_shape),
        seed,
    )


def choose(count: int, labels: Array | None, seed: int) -> Array:
    """Indices of up to 3000 of ``count`` items at random, in an order in which every label comes up in turn."""
    order = np.random.default_rng(seed).permutation(count)[:MAPPED]
    if labels is None:
        return order
    turn = np.zeros(len(order), np.int64)
    labels = labels[order]
    for value in np.unique(labels):
        turn[labels == value] = np.arange((labels == value).sum())
    return order[np.lexsort((labels, turn))]


def objective_of(manifest: Manifest) -> type[ObjectiveSettings] | None:
    """What the run was trained for, if the bundle comes from one of our runs."""
    objective = manifest.provenance.training.get("objective")
    return OBJECTIVES.get(objective["name"]) if isinstance(objective, dict) and "name" in objective else None
