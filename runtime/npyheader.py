"""The header of a .npy file, which anybody may have written."""

from __future__ import annotations

import math
import tokenize
import warnings
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the values.

    Attributes:
        shape: lengths of all axes, from 0.
        dtype: of numbers: nothing that would have to be unpickled.
        is_fortran: whether the first axis runs fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def order(self) -> Literal["C", "F"]:
        """As NumPy names the order of the axes."""
        return "F" if self.is_fortran else "C"


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """The header at the start of an open file, which stands behind it afterwards.

    Raises:
        ValueError: there is none, or its values are objects; says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, at headers of Python 2; of Python, at escapes in texts
            version = np.lib.format.read_magic(file)
            formats = np.lib.format
            read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
    # NumPy has the header evaluated by Python, whose own errors come through.
    except (tokenize.TokenError, SyntaxError, TypeError, RecursionError, MemoryError, OverflowError) as fault:
        raise ValueError(f"a header that cannot be read: {type(fault).__name__}: {fault}") from fault
    if dtype.hasobject:
        raise ValueError(f"dtype {dtype}, which would have to be unpickled")
    if any(length < 0 for length in shape):
        raise ValueError(f"an axis of negative length in shape {list(shape)}")
    return NpyHeader(tuple(shape), dtype, bool(is_fortran))
