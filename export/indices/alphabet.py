"""Groups of rare codewords: few enough for tables of 12 bits, with almost the codewords' own entropy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import TOTAL
from latentwire.export.indices.tables import MAX_BITS, Whole

GROUP_BITS = 16.0
"""What a group more must save over all calibration data: it is one more number to estimate in every row."""
MAX_GROUPS = 2048

Floats = npt.NDArray[np.float64]


def fit_groups(counts: Floats) -> tuple[Whole, Whole]:
    """(Codewords, bits) of an `Alphabet` that code codewords, which occur so often, float64 [K], in the fewest bits.

    Codewords are sorted by frequency; groups of 2^b neighbours are chosen so that the whole takes the fewest bits
    (a shortest path over K + 1 cuts, exact). A group takes at least a frequency of 1 of 4096 from the others.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    each = GROUP_BITS
    while len(bits := shortest(counts[order], each)) > MAX_GROUPS:
        each *= 4
    return order, bits


def shortest(counts: Floats, each: float) -> Whole:
    """Bits int64 [G] of groups of codewords that occur so often, in falling order, where each takes some bits more."""
    total = float(counts.sum())
    below = np.concatenate([[0.0], np.cumsum(counts / total)])
    widths = 1 << np.arange(min(MAX_BITS, len(counts).bit_length() - 1) + 1)
    best, chosen = np.zeros(len(counts) + 1), np.zeros(len(counts) + 1, np.int64)
    for end in range(1, len(counts) + 1):
        begins = end - widths[: end.bit_length()]
        costs = best[begins] + group_cost(below[end] - below[begins], total) + each
        chosen[end] = int(costs.argmin())
        best[end] = costs[chosen[end]]
    found, end = [], len(counts)
    while end > 0:
        found.append(int(chosen[end]))
        end -= 1 << found[-1]
    return np.asarray(found[::-1], np.int64)


def group_cost(shares: Floats, total: float) -> Floats:
    """Bits of all that falls into groups of 2^0, 2^1, ... members with such shares of ``total`` elements."""
    given = np.maximum(shares, 1 / TOTAL)
    length = np.arange(len(shares)) - np.log2(given)
    taken = (given - shares) / np.log(2)
    cost: Floats = total * (shares * length + taken)
    return cost
