"""What both sides of a codec of indices must agree on bit for bit, and its hash, the codec id.

A *site* is a place in one item's map of indices: a plane and a position. Sites are coded stage by stage; the table row
of a site goes by the site and by the indices of a few others, its sources, which are of earlier stages. So all sites of
a stage are decoded at once, in all items.

A row has a column for each of its plane's *common* codewords, and the last one for all others and for those that are
too rare in this row: *rare* indices, which are told when all stages are through. There the codewords of a plane are in
groups of 1, 2, 4, ... members, ordered by how often they are rare: a row of the plane codes the group, and which member
it is takes so many bits as they are, without a table. So codebooks of any size fit into tables of 12 bits, and whatever
a forged packet decodes to is an index below K: columns stand for codewords, groups have no members but codewords.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.graph import PRECISION
from latentwire.runtime.contract import QUALITIES
from latentwire.runtime.wire import PACKET_VERSION

Whole = npt.NDArray[np.int64]

MAX_BITS = PRECISION
"""Of a member within its group: with 12 bits its frequency is 1 of 4096."""


@dataclass(frozen=True)
class Alphabet:
    """The codewords of one plane.

    Attributes:
        common: int64 [C], those that have a column of their own, by column.
        codewords: int64 [K], all of 0..K-1: those of the first group, of the second, and so on.
        bits: int64 [G], log2 of each group's members; 2^bits sum to K.
    """

    common: Whole
    codewords: Whole
    bits: Whole

    @property
    def size(self) -> int:
        """K."""
        return len(self.codewords)

    @property
    def groups(self) -> int:
        """G."""
        return len(self.bits)

    def column_of(self, rare: int) -> Whole:
        """Column of each codeword, int64 [K]; ``rare`` for those that have none."""
        found = np.full(self.size, rare, np.int64)
        found[self.common] = np.arange(len(self.common))
        return found

    @cached_property
    def first(self) -> Whole:
        """Place of each group's first member in ``codewords``, int64 [G]."""
        members: Whole = 1 << self.bits
        found: Whole = np.cumsum(members) - members
        return found

    @cached_property
    def group_of(self) -> Whole:
        """Group of each codeword, int64 [K]."""
        found = np.empty(self.size, np.int64)
        found[self.codewords] = np.repeat(np.arange(self.groups), 1 << self.bits)
        return found

    @cached_property
    def member_of(self) -> Whole:
        """Which member of its group each codeword is, int64 [K]."""
        found = np.empty(self.size, np.int64)
        found[self.codewords] = np.arange(self.size)
        found -= self.first[self.group_of]
        return found


@dataclass(frozen=True)
class Stage:
    """Sites that are coded at once.

    Attributes:
        places: int64 [n], plane * P + position of each, planes in rising order.
        sources: int64 [M, n], places of each site's sources, which earlier stages have; -1 where there is none.
        classes: uint8 [R, S], below ``radix``: what of a source's column the row goes by. Class 0 also stands for a
            source that is not there.
        radix: number of classes.
        base: int64 [n], where in ``rows`` the rows of a site begin; radix^M of them.
    """

    places: Whole
    sources: Whole
    classes: npt.NDArray[np.uint8]
    radix: int
    base: Whole

    @property
    def sites(self) -> int:
        """N."""
        return len(self.places)

    @property
    def weights(self) -> Whole:
        """What the class of each source counts for in a context, int64 [M]."""
        return self.radix ** np.arange(len(self.sources), dtype=np.int64)

    @property
    def contexts(self) -> int:
        """Contexts of a site."""
        return int(self.radix ** len(self.sources))


@dataclass(frozen=True)
class IndexTables:
    """Everything that both sides must agree on, for R planes of P positions each.

    Attributes:
        positions: P.
        alphabets: of each plane.
        quality_planes: int64 [256], how many planes are sent at each quality, rising.
        stages: in the order in which they are coded; each site is in one.
        rows: uint16, table row of each (site, context); see `Stage.base`.
        frequency: uint16 [D, S], each row sums to 4096. Row 0 is the certain one, which pads; rows 1 .. R are those of
            rare groups, column k for group k; in all others the last column is for rare indices.
    """

    positions: int
    alphabets: tuple[Alphabet, ...]
    quality_planes: Whole
    stages: tuple[Stage, ...]
    rows: npt.NDArray[np.uint16]
    frequency: npt.NDArray[np.uint16]

    @property
    def planes(self) -> int:
        """R."""
        return len(self.alphabets)

    @property
    def sites(self) -> int:
        """T, of one item."""
        return self.planes * self.positions

    @property
    def columns(self) -> int:
        """S."""
        return int(self.frequency.shape[1])

    @property
    def longest(self) -> int:
        """Bits of the largest group."""
        return int(max(alphabet.bits.max() for alphabet in self.alphabets))

    @cached_property
    def order(self) -> Whole:
        """Places in the order in which they are coded, int64 [T]."""
        return np.concatenate([stage.places for stage in self.stages])

    @cached_property
    def begins(self) -> tuple[int, ...]:
        """Where each stage begins in that order."""
        return tuple(accumulate((stage.sites for stage in self.stages[:-1]), initial=0))

    @cached_property
    def codebook_begins(self) -> Whole:
        """Where each plane begins in arrays over the codewords of all planes, int64 [R]."""
        sizes = np.asarray([alphabet.size for alphabet in self.alphabets], np.int64)
        return np.cumsum(sizes) - sizes

    @cached_property
    def sent(self) -> Whole:
        """How many sites of each stage are sent at each quality, int64 [256, stages]: the first ones."""
        planes = self.quality_planes[:, None]
        return np.stack([(stage.places // self.positions < planes).sum(1) for stage in self.stages], 1)

    def wide(self, values: str) -> Whole:
        """An attribute [k] of the alphabets as one array [R, S], 0 where a plane has no such column."""
        found = np.zeros((self.planes, self.columns), np.int64)
        for plane, alphabet in enumerate(self.alphabets):
            own = getattr(alphabet, values)
            found[plane, : len(own)] = own
        return found

    def joined(self, values: str) -> Whole:
        """An attribute [K] of the alphabets, of all planes one after the other."""
        return np.concatenate([getattr(alphabet, values) for alphabet in self.alphabets])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What the codec id is made of."""
        parts: dict[str, npt.NDArray[Any]] = {
            "quality_planes": self.quality_planes,
            "rows": self.rows,
            "frequency": self.frequency,
        }
        for plane, alphabet in enumerate(self.alphabets):
            parts |= {f"{name}.{plane}": getattr(alphabet, name) for name in ("common", "codewords", "bits")}
        for number, stage in enumerate(self.stages):
            names = ("places", "sources", "classes", "base")
            parts |= {f"{name}.{number}": getattr(stage, name) for name in names}
        return parts

    def codec_id(self, family: str, shape: tuple[int, ...]) -> bytes:
        """SHA-256 over the contract; ``shape`` is that of an item's map of indices, [R, P...]."""
        parts = self.arrays()
        head = {
            "packet_version": PACKET_VERSION,
            "family": family,
            "shape": list(shape),
            "radix": [stage.radix for stage in self.stages],
            "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in parts.items()},
        }
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name in sorted(parts):
            digest.update(np.ascontiguousarray(parts[name]).tobytes())
        return digest.digest()


def planes_by_quality(planes: int, *, all_of_them: bool) -> Whole:
    """How many planes each quality sends, int64 [256]: 1 + quality * R // 256, or always R."""
    every = np.full(QUALITIES, planes, np.int64)
    return every if all_of_them else 1 + np.arange(QUALITIES, dtype=np.int64) * planes // QUALITIES
