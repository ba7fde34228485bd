"""What all families do alike when they encode and decode files, folders and pipes, and how they tell of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputFileError, SettingError
from latentwire.runtime.files import LOSSY, OTHER_NAMES, PICTURE_FORMATS
from latentwire.runtime.strictjson import Facts
from latentwire.runtime.wire import MAGIC, Damaged, Hole, is_packet, raise_first

STDIO = "-"


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

    def render(self) -> str:
        """For a person."""
        each = f"{self.packet_bytes / self.items:.1f} an item"
        what = f"{self.items} items in {self.packets} packets, {self.packet_bytes} bytes, {each}"
        if self.size is not None:
            each = f"{8 * self.packet_bytes / (self.size[0] * self.size[1]):.3f} bits a pixel"
            size = " x ".join(map(str, self.size))
            what = f"{size} in {self.packets} packets, {self.packet_bytes} bytes, {each}"
        return f"{self.source} -> {self.target}: {what}"


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
        raise_first(self.damaged, self.holes)


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


def pairs(source: str, target: str, suffix: str) -> list[tuple[str, str]]:
    """(input, output) for each file to work on; a target folder is made if the source is one.

    Raises:
        SettingError: a folder's results would go to stdout, two of its files to one result, or one onto its source.
        InputFileError: the folder is empty.
    """
    path = Path(source)
    if source == STDIO or not path.is_dir():
        inside = target != STDIO and Path(target).is_dir()
        name = "stdin" if source == STDIO else path.stem
        return [apart(source, str(Path(target) / (name + suffix)) if inside else target)]
    if target == STDIO:
        raise SettingError(f"expected a folder for the results of folder {source}, found stdout: name one with --out")
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputFileError(f"{source}: expected a folder with files, found none")
    if len({file.stem for file in files}) < len(files):
        raise SettingError(f"{source}: expected files that differ in more than their suffix: move them apart")
    Path(target).mkdir(parents=True, exist_ok=True)
    return [apart(str(file), str(Path(target) / (file.stem + suffix))) for file in files]


def apart(source: str, target: str) -> tuple[str, str]:
    """Both, if they are not one file, under whatever names.

    Raises:
        SettingError: the result would replace what it is made from.
    """
    if STDIO not in (source, target) and os.path.exists(target) and os.path.samefile(source, target):
        raise SettingError(
            f"expected a result beside its source, found {target} for both: name another file with --out"
        )
    return source, target


def packet_pairs(source: str, target: str, bare: bool) -> list[tuple[str, str]]:
    """`pairs`, for results that are streams, or single packets where they are bare."""
    return pairs(source, target, ".packet" if bare else ".lw")


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


def output(target: str) -> AbstractContextManager[BinaryIO]:
    """A file that appears whole, or stdout."""
    return nullcontext(sys.stdout.buffer) if target == STDIO else whole_file(Path(target))


@contextmanager
def progress(items: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr if that is a terminal; call what it yields with the number of items done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    import click  # a program that sends without a command has no use for it

    with click.progressbar(length=items, label=label, file=sys.stderr) as bar:
        yield bar.update
