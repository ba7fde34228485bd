"""How much a decoder's output changes with its latents, found by running it: no gradients, so any file will do.

Wanted is E ||dg/dy||^2 for one latent y of each channel, over items and positions. All latents y_p of a channel of an
item are moved by h s_p, s_p = +1 or -1 at random, up and down. Half the difference of the two outputs over h is
J s, and E ||J s||^2 = sum_p ||J_p||^2: the terms of two positions cancel in the mean (as in Hutchinson, 1989, "A
stochastic estimator of the trace of the influence matrix"). Divided by the number of positions it is the mean over
them. It costs two runs for each channel and item.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from latentwire.runtime.contract import Array

SAMPLES = 256
"""Latents of each channel that are moved: the error of a channel's mean is then a few percent."""
FEWEST = 4
"""Items that each channel is moved in, at least."""
MOVED = 0.02
"""By how much of the channel's standard deviation: the slope is that of the place, and float32 still sees it."""
VALUES_AT_ONCE = 1 << 22
"""Of outputs, at most."""


def sensitivity(
    decode: Callable[[Array], Array],
    latents: Array,
    rows: Callable[[Array], Array],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Squared change of the output for a unit change of one latent of each channel, float64 [C].

    Args:
        decode: the decoder, latents float32 [n, ...] -> [n, ...], each item by itself.
        latents: calibration latents float32 [N, ...].
        rows: lays latents out as [P, C].
        samples: latents of each channel that are moved, about; they are in as many items as that takes.
        seed: of items and signs.
    """
    rng = np.random.default_rng(seed)
    places = rows(np.arange(latents[0].size).reshape(1, *latents.shape[1:]))
    count = min(len(latents), max(FEWEST, -(-samples // len(places))))
    step = steps_of(rows(latents))
    size = max(1, VALUES_AT_ONCE // (2 * decode(latents[:1]).size))
    jobs = np.repeat(np.arange(places.shape[1]), count)
    chosen = np.concatenate([rng.permutation(len(latents))[:count] for _ in range(places.shape[1])])
    total = np.zeros(places.shape[1])
    for at in range(0, len(jobs), size):
        channels, source = jobs[at : at + size], latents[chosen[at : at + size]]
        up, down, distance = moved(source, places[:, channels].T, step[channels], rng)
        both = decode(np.concatenate([up, down])).astype(np.float64).reshape(2, len(channels), -1)
        change = np.square(both[0] - both[1]).sum(1) / np.square(distance)
        np.add.at(total, channels, change)
    return total / (count * len(places))


def steps_of(rows: Array) -> npt.NDArray[np.float32]:
    """How far a latent of each channel is moved, [C]; one that never changes as far as others do on average."""
    spread = rows.std(0)
    usual = float(spread.mean()) or max(1.0, float(np.abs(rows).max(initial=0)))
    step: npt.NDArray[np.float32] = (MOVED * np.maximum(spread, 1e-3 * usual)).astype(np.float32)
    return step


def moved(
    source: Array, places: Array, step: Array, rng: np.random.Generator
) -> tuple[Array, Array, npt.NDArray[np.float64]]:
    """Items with the latents at ``places`` [n, P] moved up and down by ``step`` [n], and how far apart that made them.

    float32 rounds what is added to large latents: the distance is measured, not assumed.
    """
    flat = source.reshape(len(source), -1)
    shift = step[:, None] * rng.choice(np.array([-1, 1], np.float32), places.shape)
    up, down = flat.copy(), flat.copy()
    values = np.take_along_axis(flat, places, 1)
    np.put_along_axis(up, places, values + shift, 1)
    np.put_along_axis(down, places, values - shift, 1)
    apart = np.take_along_axis(up, places, 1).astype(np.float64) - np.take_along_axis(down, places, 1)
    distance = np.sqrt(np.square(apart).mean(1))
    return up.reshape(source.shape), down.reshape(source.shape), distance
