"""What tables and coder agree on: frequencies of 12 bits and the lengths that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PRECISION = 12


TOTAL = 1 << PRECISION


COST_UNITS = 256
"""Code lengths are kept in 1/256 bit."""


def code_lengths(frequency: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Code length of every table entry in 1/256 bit, int64 [D, S]; 0 where the frequency is 0."""
    lengths = PRECISION - np.log2(np.maximum(frequency, 1).astype(np.float64))
    rounded: npt.NDArray[np.int64] = np.where(frequency > 0, np.rint(lengths * COST_UNITS), 0).astype(np.int64)
    return rounded
