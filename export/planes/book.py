"""Frequency tables of 16 bits whose rows have a length and an offset of their own, and how a coder looks them up.

Other toolkits keep such tables (CompressAI's ``_quantized_cdf``): a row for each channel, or for each scale of a
distribution, with as many symbols as it needs and one more for what it does not hold. They are taken over as they are.

A decoder has to find the symbol whose interval holds a slot of 16 bits. A table of all slots would take 65 536
entries a row. So a row is cut into pages of 16 slots: most of them lie within one symbol, and all pages of that
symbol are one. Finding a symbol is two look-ups, whatever the row's length.
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
PAGE = 16
"""Slots of a page."""
PAGES = TOTAL // PAGE
FREQUENCIES = 2 * TOTAL
"""Entries hold a start above a frequency, which may be the whole."""
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

    def pages(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(Where each page of each row begins, the pages: the place of each slot's symbol), both flat."""
        begins, pages, count = [], [], 0
        for first, length in zip(self.first, self.lengths, strict=True):
            ends = np.append(self.start[first : first + length], TOTAL)
            places = np.repeat(np.arange(first, first + length), np.diff(ends)).reshape(PAGES, PAGE)
            # Equal pages of a row lie one behind the other: only those of one symbol are equal.
            fresh = np.append(True, (places[1:] != places[:-1]).any(1))
            begins.append((count + np.cumsum(fresh) - 1) * PAGE)
            pages.append(places[fresh])
            count += int(fresh.sum())
        return np.concatenate(begins).astype(np.int32), np.concatenate(pages).ravel().astype(np.int32)


@dataclass(frozen=True)
class Pages:
    """What a decoder looks up; see `rans.Lookup`."""

    begins: Value
    """int64, where each page of each row begins."""
    entries: Value
    """int64, start << 17 | frequency of each slot of the pages."""
    values: Value
    """int32, its symbol."""
    span: int = PAGES

    def find(self, op: Op, base: Value, slot: Value) -> tuple[Value, Value, Value]:
        """See `rans.Lookup`."""
        begin = op.GatherElements(self.begins, op.Add(base, op.Div(slot, PAGE)))
        place = op.Add(begin, op.BitwiseAnd(slot, PAGE - 1))
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
    """A book as a decoder reads it; made of what the file holds when a session is created."""
    begins, places = book.pages()
    pages = table(op, places, "book/pages")
    begin = op.Cast(table(op, begins, "book/begins"), to=INT64)
    values = op.GatherElements(table(op, book.values, "book/values"), pages)
    return Pages(begin, op.GatherElements(entries(op, book), pages), values)


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
