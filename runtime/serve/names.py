"""Which numbers have been seen, in memory that does not grow with how many they are.

A spool's packets arrive almost in order, so what was seen is one run from 0 up to a mark, and a few runs above gaps.
The number of runs is bounded: beyond `MAX_RUNS` the lowest one is forgotten. Forgetting loses nothing: a packet of a
forgotten number would be decoded again, to the same file.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

MAX_RUNS = 1024
_RUN = struct.Struct("<QQ")


class Seen:
    """A set of numbers from 0 to 2^64 - 1, kept as runs that neither touch nor overlap.

    Args:
        packed: what `to_bytes` returned.
    """

    def __init__(self, packed: bytes = b"") -> None:
        runs = list(_RUN.iter_unpack(packed))
        self._firsts: list[int] = [first for first, _ in runs]
        self._lasts: list[int] = [last for _, last in runs]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The runs (first, last), ascending."""
        return zip(self._firsts, self._lasts, strict=True)

    def add(self, number: int) -> bool:
        """Whether the number is new; it is in the set from now on."""
        after = bisect_right(self._firsts, number)
        if after and number <= self._lasts[after - 1]:
            return False
        joins_before = after > 0 and self._lasts[after - 1] == number - 1
        joins_after = after < len(self._firsts) and self._firsts[after] == number + 1
        if joins_before and joins_after:
            self._lasts[after - 1] = self._lasts.pop(after)
            del self._firsts[after]
        elif joins_before:
            self._lasts[after - 1] = number
        elif joins_after:
            self._firsts[after] = number
        else:
            self._firsts.insert(after, number)
            self._lasts.insert(after, number)
            self._forget()
        return True

    def _forget(self) -> None:
        if len(self._firsts) > MAX_RUNS:
            del self._firsts[0], self._lasts[0]

    def to_bytes(self) -> bytes:
        """16 bytes a run."""
        return b"".join(_RUN.pack(*run) for run in self)
