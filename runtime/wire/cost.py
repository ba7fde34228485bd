"""What a packet must hold for what its header claims: a few bytes cannot stand for millions of symbols.

The coder's tables say it, without any decoding: no table row has a symbol that is free, so every element that a quality
codes for certain takes some bits, and all lanes and words together have only so many. A `Cost` is that in numbers, one
for each quality, and a header can be judged by it before anything is allocated by what it claims. The decoder graph
makes the same four comparisons in the same integers.

    steps      what is coded for certain takes no more than `MAX_STEPS` steps of all lanes
    hunger     every position takes so many bits at least: lanes and words hold them
    idle       lanes that carry next to nothing: an encoder adds lanes for bytes, or for very many elements
    crowded    more bytes than lanes carry: an encoder has twice as many lanes long before that

No packet that decodes fails the first two, whoever wrote it. The last two say which numbers of lanes an encoder may
choose.

**Bits that a symbol takes at least.** A state x that takes a symbol of frequency f and start s becomes
x // f * 4096 + x % f + s; it is in [f * low / 4096, f * low * 16) before. With k = x // f, at least low / 4096 = 8 (or
16), it grows by no less than (4096 k + f - 1) / (k f + f - 1); the ideal is 4096 / f. A state starts from ``low`` at
least and ends below 2^16 low, so a lane has room for 16 bits. A word takes 16 bits off a state and, as they are cut
off, 0.17 more at most. Rounded up, 17 bits for each lane and for each word.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_STEPS = 1 << 15
"""A packet that would need more sequential steps is refused: it bounds the time that hostile bytes can cost."""
UNITS = 256
"""Bits are counted in 1/256."""
LANE_UNITS = 17 * UNITS
"""Room of a lane's state."""
BYTE_UNITS = LANE_UNITS // 2
"""Room of a byte behind the states, half a word."""
LEAST_LANE_BYTES = 16
"""Bytes behind the states for each lane but the first; encoders have 24 at least."""
LANE_ELEMENTS = 1 << 13
"""Elements of a lane from which on an encoder adds lanes whatever they cost."""
MOST_LANES = 1 << 12
FREQUENCY_SUM = 4096
"""What a table row sums to."""
_SLACK = 16
"""Bytes for the length of an escape list, and for costs that were rounded down."""
Table = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Cost:
    """What packets of one codec take.

    Attributes:
        blocks: for each dimension of the size how many of it are one position, rounded up; 0 for one that does not
            count, such as channels.
        coded: by quality, elements that every position codes for certain.
        least: by quality, bits that a position takes at least, in 1/256.
        elements: that a position may code at most; None where there may be several positions to one.
        lane_bytes: behind the states, most for each lane where there could be more lanes.
    """

    blocks: tuple[int, ...]
    coded: tuple[int, ...]
    least: tuple[int, ...]
    elements: int | None
    lane_bytes: int

    def positions(self, size: tuple[int, ...]) -> int:
        """Positions of a content of that size."""
        return prod(-(-length // block) for length, block in zip(size, self.blocks, strict=True) if block)

    def padded(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The size that is worked on: whole positions."""
        return tuple(
            -(-length // block) * block if block else length for length, block in zip(size, self.blocks, strict=True)
        )

    def excess(self, size: tuple[int, ...], quality: int, lanes: int, behind: int) -> str | None:
        """What is wrong with a header's claims, or None.

        Args:
            size: what the packet says that it holds.
            quality: 0..255.
            lanes: number of lanes.
            behind: bytes between the lanes' states and the checksum.
        """
        positions = self.positions(size)
        certain, least = positions * self.coded[quality], positions * self.least[quality]
        if certain > MAX_STEPS * lanes:
            return f"at most {MAX_STEPS} steps, found {-(-certain // lanes)} of {lanes} lanes for {list(size)}"
        if least > LANE_UNITS * lanes + BYTE_UNITS * behind:
            needed = least // (8 * UNITS)
            return f"about {needed} bytes for {list(size)}, found {behind} and {lanes} lanes"
        few = self.elements is not None and positions * self.elements <= LANE_ELEMENTS * lanes
        if few and behind < LEAST_LANE_BYTES * (lanes - 1):
            return f"{LEAST_LANE_BYTES} bytes for each lane but the first, found {behind} and {lanes} lanes"
        if lanes < MOST_LANES and behind > self.lane_bytes * lanes:
            return f"at most {self.lane_bytes} bytes for each lane, found {behind} and {lanes} lanes"
        return None


def least_units(frequency: Table, low: int) -> npt.NDArray[np.int64]:
    """Bits in 1/256, rounded down, that any symbol of each row takes at least, int64 [rows]; 0 for the certain row.

    Args:
        frequency: [rows, columns], each row sums to `FREQUENCY_SUM`; row 0 is the certain one.
        low: the lowest state.
    """
    likeliest, k = frequency.max(1).clip(1).astype(np.float64), low // FREQUENCY_SUM
    growth = (FREQUENCY_SUM * k + likeliest - 1) / (k * likeliest + likeliest - 1)
    units: npt.NDArray[np.int64] = np.floor(UNITS * np.log2(growth) - 1e-6).astype(np.int64)
    return np.where(np.arange(len(units)) > 0, np.maximum(units, 0), 0)


def most_lane_bytes(frequency: Table, ideal: int, escape_bytes: int) -> int:
    """Bytes that a lane carries at most.

    Args:
        frequency: of all rows, the escape last in each; row 0 is the certain one.
        ideal: bytes of ideal code length that a lane has at most.
        escape_bytes: of the longest entry of the escape list.
    """
    # Words are an eighth more than ideal at most. Escapes are listed apart; each costs its symbol too.
    escape_bits = 12 - np.log2(float(frequency[1:, -1].max(initial=1)))
    listed = 8 * ideal / max(escape_bits, 1 / UNITS) * escape_bytes
    return int(np.ceil(1.125 * ideal + listed)) + _SLACK


ITEMS_LOW, PICTURES_LOW = 1 << 16, 1 << 15
"""The lowest states of the two coders."""
ITEMS_IDEAL, PICTURES_IDEAL = 800, 480
"""Ideal bytes that a lane has at most, where there are fewer than all lanes; encoders stay below."""
PICTURE_BLOCK, PICTURE_CELLS = 64, 16
"""Pixels of a hyper-latent position each way, and positions of latents in it."""
_ITEMS_ESCAPE, _PICTURES_ESCAPE = 5, 4


def cost_of_items(index: Table, frequency: Table) -> Cost:
    """Of a static probability model, one position an item or more.

    Args:
        index: [256, C], table row of each (quality, channel).
        frequency: [rows, columns].
    """
    return Cost(
        blocks=(1,),
        coded=_whole((index > 0).sum(1)),
        least=_whole(least_units(frequency, ITEMS_LOW)[index].sum(1)),
        elements=None,
        lane_bytes=most_lane_bytes(frequency, ITEMS_IDEAL, _ITEMS_ESCAPE),
    )


def cost_of_indices(certain: Table, least: Table) -> Cost:
    """Of indices into codebooks: every position is an item, whose indices are all coded, rare ones in three elements.

    Args:
        certain: [256], indices that an item has at each quality.
        least: [256], bits that they take at least, in 1/256, by any row of the tables that they may have.
    """
    return Cost(
        blocks=(1,),
        coded=_whole(certain),
        least=_whole(least),
        elements=3 * int(certain.max()),
        lane_bytes=int(np.ceil(1.125 * ITEMS_IDEAL)) + _SLACK,
    )


def cost_of_pictures(curve: Table, index: Table, hyper_frequency: Table, frequency: Table, latents: int) -> Cost:
    """Of pictures [H, W, C]: hyper-latents are coded for certain, latents may all be left out.

    Args:
        curve: [256], which row of ``index`` a quality has.
        index: [K, Z], table row of each hyper-latent.
        hyper_frequency: [rows, columns], of hyper-latents.
        frequency: [rows, magnitudes + 1], of latents, one sign of two.
        latents: channels of the latents.
    """
    rows = index[curve]
    both = [most_lane_bytes(table, PICTURES_IDEAL, _PICTURES_ESCAPE) for table in (hyper_frequency, frequency)]
    return Cost(
        blocks=(PICTURE_BLOCK, PICTURE_BLOCK, 0),
        coded=_whole((rows > 0).sum(1)),
        least=_whole(least_units(hyper_frequency, PICTURES_LOW)[rows].sum(1)),
        elements=PICTURE_CELLS * latents + index.shape[1],
        lane_bytes=max(both),
    )


def _whole(numbers: Table) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)
