"""Frequency tables of 16 bits whose rows have a length and an offset of their own, and how a coder looks them up.

Other toolkits keep such tables (CompressAI's ``_quantized_cdf``): a row for each channel, or for each scale of a
distribution, with as many symbols as it needs and one more for what it does not hold. They are taken over as they are.

A decoder has to find the symbol whose interval holds a slot of 16 bits. A table of all slots would take 65 536
entries a row. So a row is cut into 1024 pages of 64 slots: nearly all of them lie within one symbol, or look like
others, and those that are left are stored. Finding a symbol is three look-ups, whatever the row's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.errors import ExportError
from latentwire.export.graph import COST_UNITS, FLOAT, INT64, Op, Value, rans, table

TOTAL = rans.FINE.total
PAGE = 64
"""Slots of a page."""
PAGES = TOTAL // PAGE
FREQUENCIES = 2 * TOTAL
"""Entries hold a start above a frequency, which may be the whole."""
PLACES = 1 << 24
"""Where a page begins is held above the place of its first symbol."""
ESCAPE = -(1 << 30)
"""Stands for the escape among a table's values: no symbol is so small."""
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        frequency: of symbols ``offset``, ``offset`` + 1, ..., and last of the escape; they sum to 65 536, none is 0.
        offset: the smallest symbol.
    """

    frequency: Whole
    offset: int

    def __post_init__(self) -> None:
        whole = int(self.frequency.sum())
        if self.frequency.ndim != 1 or len(self.frequency) < 2 or self.frequency.min() < 1 or whole != TOTAL:
            raise ExportError(
                f"expected frequencies of at least 1 that sum to {TOTAL}, found {self.frequency.shape} of them that "
                f"sum to {whole}: bring a table of 16 bits"
            )


CERTAIN = 0
"""The row of what is not coded: symbol 0, for nothing."""


@dataclass(frozen=True)
class Book:
    """Rows 1, 2, ...; row 0 is the certain one.

    Attributes:
        rows: all but the certain one.
    """

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, *parts: Sequence[Row]) -> Book:
        """Parts one after the other; the first row of a part is 1 + the number of rows before it."""
        return cls(tuple(row for part in parts for row in part))

    @cached_property
    def frequency(self) -> Whole:
        """Of all rows one after the other, the certain one's first, int64 [n]."""
        return np.concatenate([[TOTAL], *(row.frequency for row in self.rows)]).astype(np.int64)

    @cached_property
    def lengths(self) -> Whole:
        """Columns of each row with its escape, int64 [rows]; the certain one has one column, and no escape."""
        return np.array([1, *(len(row.frequency) for row in self.rows)], np.int64)

    @cached_property
    def first(self) -> Whole:
        """Place of each row's first column, int64 [rows]."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def offsets(self) -> Whole:
        """Smallest symbol of each row, int64 [rows]."""
        return np.array([0, *(row.offset for row in self.rows)], np.int64)

    @cached_property
    def start(self) -> Whole:
        """Start of each interval in its row, int64 [n]."""
        ends = np.cumsum(self.frequency)
        return ends - self.frequency - np.repeat(np.arange(len(self.lengths)) * TOTAL, self.lengths)

    @cached_property
    def values(self) -> npt.NDArray[np.int32]:
        """What each place stands for, int32 [n]."""
        inside = np.arange(len(self.frequency)) - np.repeat(self.first, self.lengths)
        values = inside + np.repeat(self.offsets, self.lengths)
        values[(self.first + self.lengths - 1)[1:]] = ESCAPE
        return values.astype(np.int32)

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """What is part of the codec id."""
        frequency = self.frequency.astype(np.uint32)
        return {f"{name}.frequency": frequency, f"{name}.lengths": self.lengths, f"{name}.offsets": self.offsets}

    def pages(self) -> tuple[Whole, npt.NDArray[np.uint8]]:
        """(For each row and page of it where the page lies and the place of its first symbol, the pages), both flat.

        A page holds how many symbols after its first one each of its slots belongs to.
        """
        slots = np.arange(0, TOTAL)
        heads, all_pages = [], []
        for first, length in zip(self.first, self.lengths, strict=True):
            column = np.searchsorted(self.start[first : first + length], slots, side="right") - 1
            paged = column.reshape(PAGES, PAGE)
            heads.append(first + paged[:, 0])
            all_pages.append((paged - paged[:, :1]).astype(np.uint8))
        kept, which = np.unique(np.concatenate(all_pages), axis=0, return_inverse=True)
        return which.reshape(-1) * PAGE * PLACES + np.concatenate(heads), kept.reshape(-1)


@dataclass(frozen=True)
class Pages:
    """What a decoder looks up, all int64; see `rans.Lookup`."""

    heads: Value
    pages: Value
    entries: Value
    values: Value
    """int32, what each place stands for."""
    span: int = PAGES

    def find(self, op: Op, base: Value, slot: Value) -> tuple[Value, Value, Value]:
        """See `rans.Lookup`."""
        head = op.GatherElements(self.heads, op.Add(base, op.Div(slot, PAGE)))
        within = op.GatherElements(self.pages, op.Add(op.Div(head, PLACES), op.BitwiseAnd(slot, PAGE - 1)))
        place = op.Add(op.BitwiseAnd(head, PLACES - 1), within)
        entry = op.GatherElements(self.entries, place)
        return op.BitwiseAnd(entry, FREQUENCIES - 1), op.Sub(slot, op.Div(entry, FREQUENCIES)), place

    def columns_of(self, op: Op, places: Value) -> Value:
        """See `rans.Lookup`: symbols int32 [n], `ESCAPE` where it is that."""
        return op.GatherElements(self.values, places)  # type: ignore[no-any-return]


def entries(op: Op, book: Book) -> Value:
    """Start << 17 | frequency of each place, int64 [n]; made of the stored frequencies when a session is created."""
    frequency = op.Cast(table(op, book.frequency.astype(np.int32), "book/frequency"), to=INT64)
    start = op.Cast(table(op, book.start.astype(np.int32), "book/start"), to=INT64)
    return op.Add(op.Mul(start, FREQUENCIES), frequency)  # type: ignore[no-any-return]


def lookup(op: Op, book: Book) -> Pages:
    """A book as a decoder reads it."""
    heads, pages = book.pages()
    # In two parts of 32 bits, which is half of the file.
    where, first = (
        table(op, part.astype(np.int32), name)
        for part, name in zip(np.divmod(heads, PLACES), ("book/page", "book/first"), strict=True)
    )
    joined = op.Add(op.Mul(op.Cast(where, to=INT64), PLACES), op.Cast(first, to=INT64))
    values = table(op, book.values, "book/values")
    return Pages(joined, op.Cast(table(op, pages, "book/pages"), to=INT64), entries(op, book), values)


@dataclass(frozen=True)
class Found:
    """What an encoder finds, in order, [n] each.

    Attributes:
        values: int32, the symbols.
        entries: int64, start << 17 | frequency.
        cost: float32, ideal code length in 1/256 bit, a whole number.
        escaped: bool, whether the row does not hold the symbol.
    """

    values: Value
    entries: Value
    cost: Value
    escaped: Value


class Finder:
    """A book as an encoder reads it."""

    def __init__(self, op: Op, book: Book) -> None:
        self.op = op
        self.entries = entries(op, book)
        bits = np.rint((np.log2(TOTAL) - np.log2(book.frequency)) * COST_UNITS)
        self.cost = op.Cast(table(op, bits.astype(np.uint16), "book/cost"), to=FLOAT)
        self.lowest, self.escape, self.base = (
            table(op, numbers.astype(np.int32), name)
            for numbers, name in (
                (book.offsets, "book/offset"),
                (book.lengths - 1, "book/escape"),
                (book.first, "book/place"),
            )
        )

    def find(self, values: Value, rows: Value) -> Found:
        """Symbols int32 [n] in rows int32 [n], none of them the certain one."""
        op = self.op
        column = op.Sub(values, op.GatherElements(self.lowest, rows))
        escape = op.GatherElements(self.escape, rows)
        escaped = op.Or(op.Less(column, 0), op.GreaterOrEqual(column, escape))
        place = op.Add(op.GatherElements(self.base, rows), op.Where(escaped, escape, column))
        return Found(values, op.GatherElements(self.entries, place), op.GatherElements(self.cost, place), escaped)


def split(op: Op, found: Value) -> tuple[Value, Value]:
    """(Frequency, start), int64, of entries."""
    return op.BitwiseAnd(found, FREQUENCIES - 1), op.Div(found, FREQUENCIES)
