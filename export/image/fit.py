"""Measure a trained network on images and fit what its packets need: dead zones, reconstruction points, tables.

The network says which of 64 rows a latent belongs to; a row's frequencies are what the latents of that row were found
to be, at all qualities together. One squared step costs the same distortion everywhere (the network's gains see to
that), so a row's rounding offset is the one with the least distortion + LAMBDA * bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from latentwire.export.fit import COLUMNS, LAMBDA, RAREST, ZERO, cluster, count_symbols, entropy
from latentwire.export.image.integers import analysis_of, network_of
from latentwire.export.image.reference import Image, Pass, Rounding, knobs_of, latents_of, run
from latentwire.export.image.tables import SIXTEENTHS, ImageTables, Knobs
from latentwire.export.tables import QUALITIES, TOTAL
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.prior import ROWS, row_scale

FIT_QUALITIES = (0, 32, 64, 96, 128, 160, 192, 224, 255)
HYPER_ROWS = 32
MAGNITUDES = 256
"""Magnitudes that the latents' tables hold, 0 among them; larger ones are escapes of two bytes and more."""
BINS = 16
"""Bins per step of the offsets' histograms."""
REACH = MAGNITUDES + 1
"""Offsets beyond this many steps are counted at it."""
OFFSETS = np.arange(0.50, 0.03, -0.02)
SPARED = 0.004
"""Share of the bits that the rows which are never coded may be worth."""
PRIOR_SAMPLES = 64.0
"""How many latents the logistic distribution of a row counts for beside those that were found."""


@dataclass
class Measured:
    """Histograms: of each row's |offset| [rows, bins], and of the hyper-latents [qualities, Z, S]."""

    offsets: npt.NDArray[np.float64]
    hyper: npt.NDArray[np.float64]


def fit_tables(network: ImageNetwork, images: Sequence[Image], rounds: int = 2) -> ImageTables:
    """Everything between the transforms and the bytes, fitted to images [H, W, 3].

    Dead zones change what the context sees, so they are fitted ``rounds`` times.
    """
    knobs = Knobs(*knobs_of(network))
    rounding = Rounding(np.full(ROWS, 0.42, np.float32), 6)
    latents = {quality: [latents_of(network, image, quality) for image in images] for quality in FIT_QUALITIES}
    for _ in range(rounds):
        measured = measure(network, knobs, latents, rounding)
        rounding = fit_rounding(measured.offsets)
    measured = measure(network, knobs, latents, rounding)
    hyper_frequency, hyper_index = hyper_tables(measured.hyper)
    rows = np.stack([row_histogram(measured.offsets[row], rounding.offsets[row], row) for row in range(ROWS)])
    shift = np.array([16 * mean_excess(measured.offsets[r], rounding.offsets[r]) for r in range(ROWS)], np.float32)
    uncoded = rounding.first_row - 1  # the table needs one row for all that is not coded
    certain = np.eye(1, MAGNITUDES + 1) * TOTAL
    return ImageTables(
        network=network_of(network.prior),
        analysis=analysis_of(network),
        knobs=replace(knobs, base=knobs.base - SIXTEENTHS * np.int32(uncoded)),
        hyper_curve=np.abs(np.arange(QUALITIES)[:, None] - np.asarray(FIT_QUALITIES)).argmin(1).astype(np.uint8),
        hyper_index=hyper_index,
        hyper_frequency=hyper_frequency,
        frequency=np.concatenate([certain, one_sided(rows)[rounding.first_row :]]).astype(np.uint16),
        rounding=rounding.offsets[uncoded:],
        shift=shift[uncoded:],
    )


def measure(
    network: ImageNetwork, knobs: Knobs, latents: Mapping[int, Sequence[torch.Tensor]], rounding: Rounding
) -> Measured:
    """Histograms over all latents [1, L, h, w], by quality."""
    offsets = np.zeros((ROWS, REACH * BINS))
    hyper = np.zeros((len(latents), network.prior.hyper, COLUMNS))
    for at, (quality, pictures) in enumerate(latents.items()):
        for planes in pictures:
            found = run(network, knobs.gain_at(quality), knobs.base_at(quality), planes, rounding)
            offsets += offset_histogram(found)
            hyper[at] += count_symbols(found.hyper.reshape(-1, found.hyper.shape[-1]))
    return Measured(offsets, hyper)


def offset_histogram(found: Pass) -> npt.NDArray[np.float64]:
    """How often each row's |offset| falls in each bin, [rows, bins]."""
    bins = np.minimum(np.abs(found.offset) * BINS, REACH * BINS - 1).astype(np.int64)
    places = found.rows * (REACH * BINS) + bins
    return np.bincount(places.ravel(), minlength=ROWS * REACH * BINS).reshape(ROWS, -1).astype(np.float64)


def centres() -> npt.NDArray[np.float64]:
    """The |offset| that each bin stands for."""
    return (np.arange(REACH * BINS) + 0.5) / BINS


def fit_rounding(histograms: npt.NDArray[np.float64]) -> Rounding:
    """Each row's rounding offset, and the first row that is coded.

    The lowest rows are many and say little: as many of them are left out as together gain less than `SPARED` of the
    bits. They would be a quarter of the symbols, and time goes by symbols.
    """
    chosen, gain, bits = np.full(ROWS, 0.5, np.float32), np.zeros(ROWS), np.zeros(ROWS)
    for row, histogram in enumerate(histograms):
        costs = [row_cost(histogram, offset, row) for offset in OFFSETS]
        chosen[row] = OFFSETS[int(np.argmin(costs))]
        nothing = float((histogram * centres() ** 2).sum())
        gain[row] = (nothing - min(costs) * histogram.sum()) / LAMBDA
        bits[row] = signed_entropy(row_histogram(histogram, float(chosen[row]), row)) * histogram.sum()
    spared = np.maximum(gain, 0).cumsum() < SPARED * bits.sum()
    return Rounding(chosen, int(np.clip(spared.sum(), 1, ROWS - 1)))


def row_cost(histogram: npt.NDArray[np.float64], rounding: float, row: int) -> float:
    """Distortion plus LAMBDA times bits per latent, in squared steps."""
    total = histogram.sum()
    if not total:
        return abs(rounding - 0.5)
    symbols = np.floor(centres() + rounding)
    excess = mean_excess(histogram, rounding)
    restored = symbols + np.where(symbols > 0, excess, 0)
    distortion = float((histogram * (centres() - restored) ** 2).sum() / total)
    return distortion + LAMBDA * signed_entropy(row_histogram(histogram, rounding, row))


def signed_entropy(shares: npt.NDArray[np.float64]) -> float:
    """Bits of a symbol of whose magnitudes these are the shares [M + 1]: all but 0 have a sign."""
    return float(entropy(shares) + 1 - shares[0])


def mean_excess(histogram: npt.NDArray[np.float64], rounding: float) -> float:
    """Mean of |offset| - |symbol| over nonzero symbols, in steps."""
    symbols = np.floor(centres() + rounding)
    nonzero = histogram * (symbols > 0)
    return float((nonzero * (centres() - symbols)).sum() / max(nonzero.sum(), 1e-9)) if nonzero.sum() > 50 else 0.0


def row_histogram(histogram: npt.NDArray[np.float64], rounding: float, row: int) -> npt.NDArray[np.float64]:
    """Shares [M + 1] of the magnitudes of a row, the escape last: what was found, and a little of its logistic."""
    counts = np.bincount(np.floor(centres() + rounding).astype(np.int64), histogram, minlength=REACH + 1)
    scale = float(row_scale(torch.tensor(float(row))))
    edges = np.arange(REACH + 2) - rounding
    tail = 2 / (1 + np.exp(np.minimum(np.maximum(edges, 0) / scale, 700)))
    counts = counts + PRIOR_SAMPLES * (tail[:-1] - tail[1:])
    shares = np.append(counts[:MAGNITUDES], counts[MAGNITUDES:].sum())
    return np.asarray(shares / shares.sum())


def one_sided(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """12-bit frequencies int64 [D, M + 1] of magnitudes' shares [D, M + 1], each sign's own; see `ImageTables`.

    What `to_frequencies` does, but the same for both signs: a magnitude counts twice, and 0 makes the sum even.
    """
    signs = np.full(shares.shape[1], 2)
    signs[[0, -1]] = 1
    scaled = shares * TOTAL / signs
    frequency = np.where(scaled >= RAREST, np.maximum(np.rint(scaled), 1), 0).astype(np.int64)
    frequency[:, [0, -1]] = np.maximum(frequency[:, [0, -1]], 1)
    frequency[:, 0] += (frequency * signs).sum(1) % 2
    for row in frequency:
        while excess := int((row * signs).sum()) - TOTAL:
            largest = int((row * signs).argmax())
            pairs = min(abs(excess) // 2, max(1, int(row[largest]) // 8))
            row[largest] -= np.sign(excess) * pairs * (2 // signs[largest])
    return frequency


def hyper_tables(histograms: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """(Frequencies uint16 [D, S] with the certain row first, index uint8 [C, Z]) from histograms [C, Z, S]."""
    shares = (histograms + 1e-9) / (histograms.sum(-1, keepdims=True) + 1e-9 * COLUMNS)
    varying = histograms.sum(-1) > histograms[..., ZERO]
    return cluster(shares, varying, HYPER_ROWS)
