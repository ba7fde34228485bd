"""Measure latents and fit a codec's tables to them: step sizes, dead zone, reconstruction points, frequency tables.

Works for any pair of transforms. Notation: v = (latent - centre) / step is a latent in units of its step, and one
squared unit of v costs the same distortion in every channel, because steps are set from the decoder's sensitivity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latentwire.export.factorized.tables import CodecTables
from latentwire.export.graph import PRECISION, TOTAL
from latentwire.runtime.contract import QUALITIES

COLUMNS = 257
"""Symbols -128..127 and the escape."""
ZERO = (COLUMNS - 1) // 2
ROWS = 64
"""Table rows. The frequencies of all (quality, channel) pairs are clustered to these."""
LAMBDA = math.log(2) / 6
"""Distortion in squared steps that one bit is worth: -dD/dR = 2 ln 2 * D with D = 1/12 (Gish and Pierce, 1968)."""
ROUNDINGS = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25)
FINEST_ERROR = 0.002
"""At quality 255, quantization adds this share of the transforms' own error."""
COARSEST_STEPS = 3.0
"""At quality 0, the step is this many standard deviations of the strongest channel."""
FIT_ROWS = 16384
RAREST = 0.125
"""Expected frequency of the rarest symbol that has a column of its own. By its frequency of 1, N symbols lose N / 2839
bits, and win 12 to 28, by the length of its escape, each time that it occurs."""

Floats = npt.NDArray[np.float32]
Histograms = npt.NDArray[np.float64]


def fit_steps(rows: Floats, sensitive: npt.NDArray[np.float64], own_error: float) -> Floats:
    """Step sizes float32 [256, C], spaced geometrically from barely anything to (almost) no further loss.

    The same distortion in every channel (reverse water-filling at high rate): step_c = delta / sqrt(sensitivity_c).

    Args:
        rows: calibration latents [P, C].
        sensitive: squared change of the output for a unit change of a latent of each channel, [C].
        own_error: squared error of the transforms without quantization, summed over a position's outputs.
    """
    weight = np.sqrt(np.maximum(sensitive, 1e-6 * sensitive.max()))
    spread = rows.std(0) * weight
    alive = max(1, int((spread > 1e-3 * spread.max()).sum()))
    coarsest = COARSEST_STEPS * float(spread.max())
    finest = min(math.sqrt(12 * FINEST_ERROR * own_error / alive), coarsest / 16)
    delta = np.geomspace(coarsest, max(finest, coarsest / 4096), QUALITIES)
    steps: Floats = (delta[:, None] / weight[None]).astype(np.float32)
    return steps


@dataclass(frozen=True)
class Fit:
    """Tables and what fitting them found."""

    tables: CodecTables
    clustering_loss: float
    """Share by which the clustered 12-bit tables exceed the entropy of each (quality, channel), all qualities."""


def fit_tables(rows: Floats, steps: Floats, table_rows: int = ROWS) -> Fit:
    """Fit everything that `CodecTables` holds to calibration latents.

    Args:
        rows: latents float32 [P, C].
        steps: float32 [256, C], positive.
        table_rows: D, at most 256.
    """
    sample = rows[:: max(1, len(rows) // FIT_ROWS)]
    centre = np.median(sample, axis=0).astype(np.float32)
    gain = (1 / steps).astype(np.float32)
    rounding = fit_rounding(sample - centre, gain)
    shift = np.zeros_like(gain)
    histograms = np.zeros((QUALITIES, gain.shape[1], COLUMNS))
    worth = np.zeros(gain.shape, bool)
    for quality in range(QUALITIES):
        scaled = (sample - centre) * gain[quality]
        symbols = quantize(scaled, rounding[quality])
        shift[quality] = reconstruction_shift(scaled, symbols)
        histograms[quality] = count_symbols(symbols)
        worth[quality] = worth_coding(scaled, symbols, shift[quality], histograms[quality])
    histograms /= len(sample)
    frequency, index = cluster(histograms, worth, table_rows)
    tables = CodecTables(gain, centre, index, frequency, rounding, shift)
    return Fit(tables, clustering_loss(histograms, tables))


def quantize(scaled: Floats, rounding: float) -> npt.NDArray[np.int64]:
    """sign(v) * floor(|v| + rounding)."""
    return (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(rounding))).astype(np.int64)


def reconstruction_shift(scaled: Floats, symbols: npt.NDArray[np.int64]) -> Floats:
    """Mean of |v| - |symbol| over the nonzero symbols of each channel, float32 [C]; 0 where there are none."""
    nonzero = symbols != 0
    excess = np.where(nonzero, np.abs(scaled) - np.abs(symbols), 0).sum(0)
    shift: Floats = np.clip(excess / np.maximum(nonzero.sum(0), 1), -0.5, 0.5).astype(np.float32)
    return shift


def count_symbols(symbols: npt.NDArray[np.int64]) -> Histograms:
    """How often each column occurs in each channel, float64 [C, S]; what the table cannot hold counts as escape."""
    channels = symbols.shape[1]
    columns = symbols + ZERO
    columns = np.where((columns >= 0) & (columns < COLUMNS - 1), columns, COLUMNS - 1)
    places = columns + np.arange(channels) * COLUMNS
    return np.bincount(places.ravel(), minlength=channels * COLUMNS).reshape(channels, COLUMNS).astype(np.float64)


def entropy(histograms: Histograms) -> npt.NDArray[np.float64]:
    """Entropy in bits over the last axis."""
    share = histograms / np.maximum(histograms.sum(-1, keepdims=True), 1e-300)
    return -(share * np.log2(np.maximum(share, 1e-300))).sum(-1)  # type: ignore[no-any-return]


def worth_coding(
    scaled: Floats, symbols: npt.NDArray[np.int64], shift: Floats, histogram: Histograms
) -> npt.NDArray[np.bool_]:
    """Whether coding a channel lowers distortion by more than its bits are worth, bool [C]."""
    restored = symbols + np.sign(symbols) * shift
    saved = np.square(scaled).mean(0) - np.square(scaled - restored).mean(0)
    return saved > LAMBDA * entropy(histogram)  # type: ignore[no-any-return]


def fit_rounding(centred: Floats, gain: Floats, knots: int = 9) -> Floats:
    """The rounding offset of each quality, float32 [256], by rate-distortion cost at a few qualities in between."""
    at = np.linspace(0, QUALITIES - 1, knots).astype(int)
    sample = centred[:: max(1, len(centred) // 4096)]
    best = [min(ROUNDINGS, key=lambda r, q=q: rounding_cost(sample * gain[q], r)) for q in at]  # type: ignore[misc]
    return np.interp(np.arange(QUALITIES), at, best).astype(np.float32)


def rounding_cost(scaled: Floats, rounding: float) -> float:
    """Distortion plus LAMBDA times rate, per latent in squared steps."""
    symbols = quantize(scaled, rounding)
    restored = symbols + np.sign(symbols) * reconstruction_shift(scaled, symbols)
    return float(np.square(scaled - restored).mean() + LAMBDA * entropy(count_symbols(symbols)).mean())


def to_frequencies(shares: Histograms) -> npt.NDArray[np.int64]:
    """12-bit frequencies int64 [D, S] of probabilities [D, S]: rows sum to 4096, the escape has at least 1.

    A symbol rarer than `RAREST` gets none (it will be escaped): rounding it up would cost the others more than the
    escape does.
    """
    scaled = shares * TOTAL
    frequency = np.where(scaled >= RAREST, np.maximum(np.rint(scaled), 1), 0).astype(np.int64)
    frequency[:, -1] = np.maximum(frequency[:, -1], 1)
    peak = frequency[:, :-1].argmax(1)
    excess = frequency.sum(1) - TOTAL
    while (excess > 0).any() or (excess < 0).any():
        # Surplus leaves, and deficit joins, the largest frequency: the relative change is smallest there.
        lines = np.flatnonzero(excess)
        amount = np.minimum(excess[lines], np.maximum(1, frequency[lines, peak[lines]] // 8))
        frequency[lines, peak[lines]] -= amount
        peak = frequency[:, :-1].argmax(1)
        excess = frequency.sum(1) - TOTAL
    return frequency


def cluster(
    histograms: Histograms, worth: npt.NDArray[np.bool_], rows: int, rounds: int = 12
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Cluster the histograms of all coded (quality, channel) pairs to ``rows`` - 1 tables (Lloyd under KL divergence).

    Returns:
        (frequency uint16 [D, S] whose row 0 is the certain one, index uint8 [256, C]).
    """
    if not 2 <= rows <= 256:
        raise ValueError(f"table rows must be 2..256 (the index is one byte), found {rows}")
    certain = np.zeros((1, COLUMNS), np.int64)
    certain[0, ZERO] = TOTAL
    points = histograms[worth]
    index = np.zeros(worth.shape, np.uint8)
    if not len(points):
        return certain.astype(np.uint16), index
    training = points[np.linspace(0, len(points) - 1, min(len(points), 6000)).astype(int)]
    centres = initial_centres(training, min(rows - 1, len(training)))
    for _ in range(rounds):
        nearest = assign(training, centres)
        centres = np.stack([mean_or_keep(training[nearest == k], centres[k]) for k in range(len(centres))])
    frequency = to_frequencies(centres)
    index[worth] = 1 + assign(points, frequency / TOTAL)
    return np.concatenate([certain, frequency]).astype(np.uint16), index


def initial_centres(points: Histograms, rows: int) -> Histograms:
    """Means of groups of equal count in order of entropy."""
    order = np.argsort(entropy(points), kind="stable")
    return np.stack([points[group].mean(0) for group in np.array_split(order, rows)])


def mean_or_keep(members: Histograms, centre: Histograms) -> Histograms:
    """The members' mean; an empty cluster stays where it is."""
    return members.mean(0) if len(members) else centre


def assign(points: Histograms, centres: Histograms) -> npt.NDArray[np.int64]:
    """The centre that codes each point in the fewest bits; what a centre does not hold costs an escape."""
    floor = 2.0 ** -(PRECISION + 12)
    return (points @ -np.log2(np.maximum(centres, floor)).T).argmin(1)  # type: ignore[no-any-return]


def clustering_loss(histograms: Histograms, tables: CodecTables) -> float:
    """Excess of the tables' code length over the histograms' entropy, as a share, over all coded pairs."""
    coded = tables.index > 0
    if not coded.any():
        return 0.0
    shares = tables.frequency[tables.index[coded]] / TOTAL
    escape = shares[:, -1:] * 2.0**-12
    lengths = -np.log2(np.where(shares > 0, shares, escape))
    ideal = entropy(histograms[coded]).sum()
    return float((histograms[coded] * lengths).sum() / max(float(ideal), 1e-12) - 1)
