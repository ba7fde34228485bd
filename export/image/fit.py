"""Measure a trained network on images and fit what its packets need: tables, and which latents are not worth coding.

The network says which of 64 rows a latent belongs to; a row's frequencies are what the latents of that row were found
to be, at all qualities together. Symbols stand for themselves: the synthesis network has learned what lies around them,
and reconstruction points of least squared error in the latents cost 1 to 3 % of the rate (measured on `photo` and
`photo-ms-ssim`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from latentwire.export.factorized import COLUMNS, RAREST, ZERO, cluster, count_symbols, entropy
from latentwire.export.graph import TOTAL
from latentwire.export.image.integers import analysis_of, network_of
from latentwire.export.image.reference import Pass, Picture, knobs_of, latents_of, run
from latentwire.export.image.tables import SIXTEENTHS, ImageTables, Knobs
from latentwire.runtime.contract import QUALITIES
from latentwire.train.image import DEAD_ZONE, DISTORTIONS, ROWS, Distortion, ImageNetwork, row_scale

FIT_QUALITIES = (0, 32, 64, 96, 128, 160, 192, 224, 255)
HYPER_ROWS = 32
MAGNITUDES = 256
"""Magnitudes that the latents' tables hold, 0 among them; larger ones are escapes of two bytes and more."""
SPARED = 0.01
"""Share of the bits that the rows which are never coded may be worth."""
BIT: dict[Distortion, float] = {"mse": 0.09, "ms-ssim": 0.05, "mix": 0.05}
"""Squared error, in steps, that a bit is to take away. For the squared error it decides on every symbol: `photo` takes
1.4 % less rate than with the dead zone of training everywhere (0.07: 1.3 %, 0.1: 1.4 %; twelve pictures of BSDS500's
`val`). To MS-SSIM a small latent in a quiet place is worth more than a large one elsewhere: with 0.08 for symbols too,
`photo-ms-ssim` would take 0.7 % more. There it only says which rows are left out."""
TRAINED = 0.5 - DEAD_ZONE
"""Added to magnitudes before they are cut off to whole numbers, in training."""
HIGHEST = 0.47
"""And at most here; 1/2 would be rounding to the nearest."""
PRIOR_SAMPLES = 64.0
"""How many latents the logistic distribution of a row counts for beside those that were found."""

Floats = npt.NDArray[np.float64]
Rounding = npt.NDArray[np.float32]


@dataclass
class Measured:
    """Sums over pictures."""

    magnitudes: Floats
    """How often each row has each magnitude, escapes last, [rows, M + 1]."""
    saved: Floats
    """What each row's symbols take off the squared error, in steps, [rows]."""
    hyper: Floats
    """Histograms of the hyper-latents, [qualities, Z, S]."""


def fit_tables(network: ImageNetwork, images: Sequence[Picture], distortion: Distortion = "mse") -> ImageTables:
    """Everything between the transforms and the bytes, fitted to images [H, W, 3] for what was minimised in training.

    Measured anew after each choice: how symbols are rounded, and what is not coded, changes what the context sees.
    """
    knobs = Knobs(*knobs_of(network))
    latents = {quality: [latents_of(network, image, quality) for image in images] for quality in FIT_QUALITIES}
    rounding = np.full(ROWS, TRAINED, np.float32)
    measured = measure(network, knobs, latents, rounding, 1)
    if not DISTORTIONS[distortion].structural:
        rounding = rounding_by_row(shares_of(measured, rounding), BIT[distortion])
        measured = measure(network, knobs, latents, rounding, 1)
    first_row = worth_coding(measured, BIT[distortion])
    measured = measure(network, knobs, latents, rounding, first_row)
    hyper_frequency, hyper_index = hyper_tables(measured.hyper)
    certain = np.eye(1, MAGNITUDES + 1) * TOTAL  # the table needs one row for all that is not coded
    return ImageTables(
        network=network_of(network.prior),
        analysis=analysis_of(network),
        rounding=rounding[first_row - 1 :],
        knobs=replace(knobs, base=knobs.base - SIXTEENTHS * np.int32(first_row - 1)),
        hyper_curve=np.abs(np.arange(QUALITIES)[:, None] - np.asarray(FIT_QUALITIES)).argmin(1).astype(np.uint8),
        hyper_index=hyper_index,
        hyper_frequency=hyper_frequency,
        frequency=np.concatenate([certain, one_sided(shares_of(measured, rounding)[first_row:])]).astype(np.uint16),
    )


def measure(
    network: ImageNetwork,
    knobs: Knobs,
    latents: Mapping[int, Sequence[torch.Tensor]],
    rounding: Rounding,
    first_row: int,
) -> Measured:
    """Sums over all latents [1, L, h, w], by quality, of which rows from ``first_row`` on are coded."""
    measured = Measured(
        np.zeros((ROWS, MAGNITUDES + 1)), np.zeros(ROWS), np.zeros((len(latents), network.prior.hyper, COLUMNS))
    )
    for at, (quality, pictures) in enumerate(latents.items()):
        for planes in pictures:
            gain, base = knobs.gain_at(quality), knobs.base_at(quality)
            found = run(network, gain, base, planes, rounding, range(first_row, ROWS))
            measured.magnitudes += magnitude_histogram(found)
            saved = np.square(found.offset) - np.square(found.offset - found.symbols)
            measured.saved += np.bincount(found.rows.ravel(), saved.ravel(), minlength=ROWS)
            measured.hyper[at] += count_symbols(found.hyper.reshape(-1, found.hyper.shape[-1]))
    return measured


def magnitude_histogram(found: Pass) -> Floats:
    """How often each row has each magnitude, escapes last, [rows, M + 1]."""
    places = found.rows * (MAGNITUDES + 1) + np.minimum(np.abs(found.symbols), MAGNITUDES)
    return np.bincount(places.ravel(), minlength=ROWS * (MAGNITUDES + 1)).reshape(ROWS, -1).astype(np.float64)


def worth_coding(measured: Measured, bit: float) -> int:
    """The first row that is coded, where each bit must take off ``bit`` of the squared error in steps.

    The lowest rows are many and say little: as many of them are left out as together gain less than `SPARED` of the
    bits. They would be a quarter of the symbols, and time goes by symbols.
    """
    counts = measured.magnitudes.sum(1)
    bits = np.array([signed_entropy(row_shares(row, at)) for at, row in enumerate(measured.magnitudes)]) * counts
    gain = np.maximum(measured.saved / bit - bits, 0)
    return int(np.clip((gain.cumsum() < SPARED * bits.sum()).sum(), 1, ROWS - 1))


def rounding_by_row(shares: Floats, bit: float) -> Rounding:
    """Added to magnitudes before they are cut off, float32 [rows], from the magnitudes' shares [rows, M + 1].

    A 1 in place of a 0 takes o^2 - (1 - o)^2 = 2 o - 1 off the squared error of an offset o, and is some bits longer,
    its sign included: the lower the row, the more.
    """
    longer = np.log2(shares[:, 0] / (shares[:, 1] / 2))
    rounding = np.clip(0.5 - bit * longer / 2, 0, HIGHEST)
    return np.maximum.accumulate(rounding).astype(np.float32)  # the widest rows have few samples


def signed_entropy(shares: Floats) -> float:
    """Bits of a symbol of whose magnitudes these are the shares [M + 1]: all but 0 have a sign."""
    return float(entropy(shares) + 1 - shares[0])


def shares_of(measured: Measured, rounding: Rounding) -> Floats:
    """`row_shares` of all rows."""
    return np.stack([row_shares(counts, row, rounding[row]) for row, counts in enumerate(measured.magnitudes)])


def row_shares(counts: Floats, row: int, rounding: float = TRAINED) -> Floats:
    """Shares [M + 1] of the magnitudes of a row, the escape last: what was found, and a little of its logistic."""
    scale = float(row_scale(torch.tensor(float(row))))
    edges = np.maximum(np.arange(MAGNITUDES + 1) - rounding, 0)
    beyond = 2 / (1 + np.exp(np.minimum(edges / scale, 700)))
    whole = counts + PRIOR_SAMPLES * (beyond - np.append(beyond[1:], 0))
    return np.asarray(whole / whole.sum())


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
