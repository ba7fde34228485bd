"""Tables of numbers as text (.csv, .tsv): a row is an item, a column one of its values.

Columns are separated by commas, semicolons or tabs, the same in every row; the first row may hold their names. Nothing
is left out unless columns are chosen: a cell that is no number, and a row that is shorter or longer than the others, is
an error with its place.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputFileError, SettingError
from latentwire.runtime.files.arrays import Source, bad_file

SUFFIXES = (".csv", ".tsv")
_HEAD = 4096
_SEPARATORS = "\t;,"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PNM = re.compile(r"P[1-7]\s")


def holds_table(file: BinaryIO, name: Source) -> bool:
    """Whether an open file that can seek is a table: by its suffix, or since its first or second row has a number.

    Where it stands stays as it is.
    """
    start = file.tell()
    head = file.read(_HEAD)
    file.seek(start)
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    if _CONTROL.search(text) or _PNM.match(text):
        return False
    if isinstance(name, Path) and name.suffix.lower() in SUFFIXES and text.strip():
        return True
    rows = [line for line in text.splitlines() if line.strip()][:2]
    return any(_NUMBER.fullmatch(cell.strip()) for row in rows for cell in re.split(f"[{_SEPARATORS}]", row))


def table_from(file: BinaryIO, name: Source, columns: Sequence[str] = ()) -> NDArray[np.float64]:
    """The numbers of an open table: float64 [rows, columns].

    Args:
        file: stands where the table begins.
        name: of the file, for messages.
        columns: names of columns, or their places from 1, in the order of an item's values; all if empty.

    Raises:
        InputFileError: a cell is no number, rows differ in length, there are none, or it is no UTF-8.
        SettingError: a column that is asked for is not there.
    """
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise bad_file(name, fault.start, "text in UTF-8", f"byte {fault.object[fault.start]:02x}") from fault
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((mark for mark in _SEPARATORS if mark in first), ",")
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as fault:
        raise InputFileError(f"{name}: expected a table, found {fault}") from fault
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        names = [cell.strip() for cell in rows.pop(0)[1]]
    else:
        names = []
    if not rows:
        raise InputFileError(f"{name}: expected rows of numbers, found none")
    _require_one_width(rows, len(names or rows[0][1]), name)
    if columns:
        places = _places(columns, names or [str(at + 1) for at in range(len(rows[0][1]))], name)
        rows = [(line, [row[at] for at in places]) for line, row in rows]
        names = list(columns)
    return _numbers(rows, names, name)


def _places(columns: Sequence[str], names: list[str], name: Source) -> list[int]:
    """Where the columns stand, each by its name or else by its place from 1."""
    by_name = {title: at for at, title in reversed(list(enumerate(names)))}
    places = {str(at + 1): at for at in range(len(names))}
    missing = [column for column in columns if column not in by_name and column not in places]
    if missing:
        raise SettingError(
            f"{name}: expected columns among {', '.join(names)}, found {', '.join(missing)}: or their "
            f"places, from 1 to {len(names)}"
        )
    return [by_name.get(column, places.get(column, 0)) for column in columns]


def _require_one_width(rows: list[tuple[int, list[str]]], width: int, name: Source) -> None:
    for line, row in rows:
        if len(row) != width:
            error = InputFileError(f"{name}, line {line}: expected {width} columns, found {len(row)}")
            raise _at(error, name, line=line)


def _numbers(rows: list[tuple[int, list[str]]], names: list[str], name: Source) -> NDArray[np.float64]:
    try:
        return np.array([[_value(cell) for cell in row] for _, row in rows], np.float64)
    except ValueError:
        raise _text_error(rows, names, name) from None


def _text_error(rows: list[tuple[int, list[str]]], names: list[str], name: Source) -> InputFileError:
    """The error of a table with cells that are no numbers: where the first is, and which columns have such."""
    places = [(line, at) for line, row in rows for at, cell in enumerate(row) if not _is_number(cell)]
    line, column = places[0]
    found = next(row[column] for number, row in rows if number == line)
    wrong = sorted({at for _, at in places})
    titles = ", ".join(repr(names[at]) if names else str(at + 1) for at in wrong)
    error = InputFileError(
        f"{name}, line {line}, column {column + 1}: expected a number, found {found!r}: choose others with "
        f"--columns than what is text, here column{'s' * (len(wrong) > 1)} {titles}"
    )
    return _at(error, name, line=line, column=column + 1)


def as_contract(table: NDArray[np.float64], contract: ItemContract, name: Source) -> Array:
    """Numbers of a table in the contract's dtype.

    Raises:
        InputFileError: the dtype is one of whole numbers, and one is none or does not fit.
    """
    dtype = contract.numpy_dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused as such
            return table.astype(dtype)
    limits = np.iinfo(dtype)
    wrong = (table != np.rint(table)) | (table < limits.min) | (table > limits.max)
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        error = InputFileError(
            f"{name}, item {row}, column {column + 1}: expected a whole number from {limits.min} to {limits.max}, "
            f"found {table[row, column]:g}"
        )
        raise _at(error, name, item=row, column=column + 1)
    return table.astype(dtype)


def _value(cell: str) -> float:
    if "_" in cell:  # as Python writes numbers, and nobody else
        raise ValueError
    return float(cell)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _at(error: InputFileError, name: Source, **place: int) -> InputFileError:
    error.file, error.place = str(name), place
    return error
