"""What all families do alike when they encode and decode files, folders and pipes, and how they tell of it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import (
    FolderError,
    InputFileError,
    LatentwireError,
    ResourceError,
    SettingError,
    about,
    error_facts,
)
from latentwire.runtime.files import LOSSY, OTHER_NAMES, PICTURE_FORMATS
from latentwire.runtime.strictjson import Facts
from latentwire.runtime.wire import MAGIC, Damaged, Hole, is_packet, raise_first

STDIO = "-"
SHOWN = 5
"""Names of a long list that are shown to a person."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where there is no room."""


@dataclass(frozen=True)
class Encoded(Facts):
    """What became of one input of encode."""

    source: str
    target: str
    items: int
    packets: int
    packet_bytes: int
    """Frames not included."""
    size: tuple[int, ...] | None = None
    """Height, width and channels of a picture."""
    clipped: int = 0
    """Items with values that were moved into the contract's range."""
    skipped: int = 0
    """Items that were left out, because of values outside of that range."""

    def raise_on_damage(self) -> None:
        """Nothing: what cannot be encoded is an error at once."""

    def render(self) -> str:
        """For a person."""
        each = f"{self.packet_bytes / self.items:.1f} an item"
        what = f"{self.items} items in {self.packets} packets, {self.packet_bytes} bytes, {each}"
        if self.size is not None:
            each = f"{8 * self.packet_bytes / (self.size[0] * self.size[1]):.3f} bits a pixel"
            size = " x ".join(map(str, self.size))
            what = f"{size} in {self.packets} packets, {self.packet_bytes} bytes, {each}"
        strays = [f"{count} {done}" for count, done in ((self.clipped, "clipped"), (self.skipped, "skipped")) if count]
        out_of_range = f", out of range: {', '.join(strays)}" if strays else ""
        return f"{self.source} -> {self.target}: {what}{out_of_range}"


@dataclass(frozen=True)
class Decoded(Facts):
    """What became of one input of decode."""

    source: str
    target: str
    items: int
    packets: int
    damaged: tuple[Damaged, ...]
    holes: tuple[Hole, ...] = ()
    """Where tiles of a picture are missing."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        damaged = [
            {"offset": d.offset, "length": d.length, "error": type(d.error).__name__, "message": str(d.error)}
            for d in self.damaged
        ]
        return super().to_json() | {"damaged": damaged}

    def render(self) -> str:
        """For a person."""
        lines = [f"{self.source} -> {self.target}: {self.items} items from {self.packets} packets"]
        lines += [f"  damaged: {d.length} bytes at offset {d.offset}: {d.error}" for d in self.damaged]
        lines += [f"  no tile: {h.height} x {h.width} pixels at [{h.top}, {h.left}], now grey" for h in self.holes]
        return "\n".join(lines)

    def raise_on_damage(self) -> None:
        """Nothing if everything came.

        Raises:
            RemoteError: what is wrong with the first record that did not.
        """
        first = self.damaged[0] if self.damaged else None
        if first is not None:
            first.error.place = first.error.place or {"offset": first.offset}
        with about("stdin" if self.source == STDIO else self.source):
            raise_first(self.damaged, self.holes)


@dataclass(frozen=True)
class Failed(Facts):
    """A file of a folder of which nothing became."""

    source: str
    target: str
    error: LatentwireError

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"source": self.source, "target": self.target, "error": error_facts(self.error)}

    def render(self) -> str:
        """For a person."""
        told = str(self.error)
        where = "" if told.startswith(self.source) else f"{self.source}: "
        return f"{type(self.error).__name__}: {where}{told}"


@dataclass(frozen=True)
class LeftOut(Facts):
    """A file of a folder that was not worked on, which is no fault."""

    source: str
    reason: str


Done = TypeVar("Done", Encoded, Decoded)


@dataclass(frozen=True)
class Outcome(Generic[Done]):
    """What became of all inputs.

    Attributes:
        done: of those that were worked on to their end.
        failed: of those that were not.
        left_out: of those that are no inputs.
        folder: where they lie, or None where one file was named.
    """

    done: tuple[Done, ...]
    failed: tuple[Failed, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    folder: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "outputs": [entry.to_json() for entry in self.done],
            "failed": [entry.to_json() for entry in self.failed],
            "left_out": [entry.to_json() for entry in self.left_out],
        }

    def render(self) -> str:
        """For a person."""
        lines = [entry.render() for entry in self.done]
        for reason in dict.fromkeys(entry.reason for entry in self.left_out):
            names = [Path(entry.source).name for entry in self.left_out if entry.reason == reason]
            lines.append(f"left out, {reason}: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}")
        return "\n".join(lines + [entry.render() for entry in self.failed])

    def raise_on_failure(self) -> None:
        """Nothing if every input became what it should.

        Raises:
            FolderError: some of a folder did not; its exit code is that of their errors, or 3 where those differ.
            RemoteError: what is wrong with the one file that was named.
        """
        faults: list[LatentwireError] = [entry.error for entry in self.failed]
        for entry in self.done:
            try:
                entry.raise_on_damage()
            except LatentwireError as fault:
                if self.folder is None:
                    raise
                faults.append(fault)
        if faults:
            raise self._folder_error(faults)

    def _folder_error(self, faults: Sequence[LatentwireError]) -> FolderError:
        files = len(self.done) + len(self.failed)
        error = FolderError(
            f"{self.folder}: expected {files} files without a fault, found {len(faults)} with one: see the list, the "
            "others are done"
        )
        codes = {fault.exit_code for fault in faults}
        error.exit_code = codes.pop() if len(codes) == 1 else FolderError.exit_code
        error.file = self.folder
        return error


def only_good(results: Iterator[Array | Damaged], damaged: list[Damaged]) -> Iterator[Array]:
    """The items; damaged stretches go to the list."""
    for result in results:
        if isinstance(result, Damaged):
            damaged.append(result)
        else:
            yield result


def holds_packet(file: BinaryIO) -> bool:
    """Whether a file holds a single packet instead of a stream; a pipe is always a stream."""
    if not file.seekable():
        return False
    start = file.tell()
    try:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(start)
        return is_packet(file.read())
    finally:
        file.seek(start)


def format_of(target: str, formats: tuple[str, ...]) -> str:
    """The one of ``formats`` that a target's suffix names; npy for others and for stdout.

    Raises:
        SettingError: the suffix is that of a picture file that is not among them.
    """
    suffix = Path(target).suffix.lower().lstrip(".")
    form = OTHER_NAMES.get(suffix, suffix)
    if form not in formats and form in (*PICTURE_FORMATS, *LOSSY):
        raise SettingError(f"expected a result of {', '.join(formats)}, found {target}: choose one of these")
    return form if form in formats else "npy"


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """A file to read, or stdin.

    Raises:
        InputFileError: the file cannot be opened, or there is nothing in it.
    """
    if source == STDIO:
        yield sys.stdin.buffer
        return
    if not (os.path.isfile(source) and os.access(source, os.R_OK)):
        raise InputFileError(f"{source}: expected a file that can be read, found none or no permission")
    with Path(source).open("rb") as file:
        if not file.peek(1):
            raise InputFileError(f"{source}: expected packets, found an empty file")
        yield file


@contextmanager
def output(target: str) -> Iterator[BinaryIO]:
    """A file that appears whole, or stdout.

    Raises:
        ResourceError: the disk is full.
    """
    try:
        with nullcontext(sys.stdout.buffer) if target == STDIO else whole_file(Path(target)) as sink:
            yield sink
    except OSError as fault:
        if fault.errno not in FULL:
            raise
        raise ResourceError(f"{target}: expected room for the result, found a full disk: {fault}") from fault


@contextmanager
def progress(items: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr if that is a terminal; call what it yields with the number of items done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    import click  # a program that sends without a command has no use for it

    with click.progressbar(length=items, label=label, file=sys.stderr) as bar:
        yield bar.update
