"""From shares to frequencies of 12 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import TOTAL
from latentwire.export.indices.clusters import Shares
from latentwire.export.indices.tables import Whole

RAREST = 0.5
"""Expected frequency of the rarest codeword that has a column in a row; it gets 1 then."""
LIKELIEST = TOTAL - 16
"""No column has a higher frequency: so every symbol takes some bits, and no packet can claim any number for free."""


def frequencies(shares: Shares, rarest: float = RAREST) -> Whole:
    """12-bit frequencies int64 [n, S] of shares: rows sum to 4096, none is above `LIKELIEST` but that of a lone column.

    What is expected fewer than ``rarest`` times in 4096 gets none, and falls to the last column, which has at least 1.
    """
    if shares.shape[1] == 1:
        return np.full((len(shares), 1), TOTAL, np.int64)
    dropped = shares * TOTAL < rarest
    dropped[:, -1] = False
    kept = np.where(dropped, 0, shares)
    kept[:, -1] += np.where(dropped, shares, 0).sum(1)
    low, high = np.zeros((len(shares), 1)), np.full((len(shares), 1), float(2 * TOTAL))
    for _ in range(50):  # the scale at which rounded and bounded shares sum to 4096
        middle = (low + high) / 2
        excess = rounded(kept * middle, dropped).sum(1, keepdims=True) > TOTAL
        low, high = np.where(excess, low, middle), np.where(excess, middle, high)
    found = rounded(kept * low, dropped)
    for row, missing in zip(found, TOTAL - found.sum(1), strict=True):
        spread(row, int(missing))
    return found


def rounded(values: Shares, dropped: npt.NDArray[np.bool_]) -> Whole:
    """Whole numbers within the bounds of a frequency, 0 where one is dropped."""
    return np.where(dropped, 0, np.clip(np.rint(values), 1, LIKELIEST)).astype(np.int64)


def spread(row: Whole, missing: int) -> None:
    """Add what is missing to the numbers of a row that are the largest but not too large."""
    while missing:
        room = np.where((row > 0) & (row < LIKELIEST), row, -1)
        place = int(room.argmax())
        step = min(missing, LIKELIEST - int(row[place]), max(1, int(row[place]) // 16))
        row[place] += step
        missing -= step
