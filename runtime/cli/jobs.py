"""What the commands encode and decode do with files, folders and pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.contract import Array
from latentwire.runtime.decoder import DEFAULT_BATCH, Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import InputFileError, RemoteError, SettingError
from latentwire.runtime.files.formats import LOSSY, OTHER_NAMES, PICTURE_FORMATS
from latentwire.runtime.files.items import items_from_stdin, load_items
from latentwire.runtime.files.results import FORMATS, write_items
from latentwire.runtime.wire.mosaic import Hole, raise_first
from latentwire.runtime.wire.packet import MAGIC
from latentwire.runtime.wire.stream import Damaged, frame, is_packet

STDIO = "-"
STREAM_SUFFIX, PACKET_SUFFIX = ".lw", ".packet"


@dataclass(frozen=True)
class Encoded:
    """What became of one input of `encode_files`."""

    source: str
    target: str
    items: int
    packets: int
    packet_bytes: int
    """Frames not included."""
    size: tuple[int, ...] | None = None
    """Height, width and channels of a picture."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

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
class Decoded:
    """What became of one input of `decode_files`."""

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
        return asdict(self) | {"damaged": damaged}

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


@dataclass(frozen=True)
class EncodeJob:
    """Encodes files; ``batch`` None writes all items of a file as one packet without a frame."""

    encoder: Encoder
    quality: int | None
    max_bytes: int | None
    batch: int | None
    raw: bool

    def run(self, source: str, target: str) -> list[Encoded]:
        """Encode a file, a folder's files or stdin."""
        suffix = PACKET_SUFFIX if self.batch is None else STREAM_SUFFIX
        return [self._one(*pair) for pair in pairs(source, target, suffix)]

    def _one(self, source: str, target: str) -> Encoded:
        contract = self.encoder.contract
        if source == STDIO:
            items = items_from_stdin(sys.stdin.buffer, contract, self.raw)
        else:
            items = load_items(Path(source), contract)
        lengths = []
        with output(target) as sink, progress(len(items), source) as advance:
            for packet in self._packets(items):
                sink.write(packet if self.batch is None else frame(packet))
                lengths.append(len(packet))
                advance(self.batch or len(items))
        return Encoded(source, target, len(items), len(lengths), sum(lengths))

    def _packets(self, items: Array) -> Iterator[bytes]:
        if self.batch is None:
            yield self.encoder.encode(items, self.quality, max_bytes=self.max_bytes)
        else:
            yield from self.encoder.encode_stream(items, self.quality, batch=self.batch, max_bytes=self.max_bytes)


@dataclass(frozen=True)
class DecodeJob:
    """Decodes streams and packets; ``form`` None goes by the target's suffix."""

    decoder: Decoder
    form: str | None
    max_packet: int | None
    bare: bool

    def run(self, source: str, target: str) -> list[Decoded]:
        """Decode a file, a folder's files or stdin."""
        return [self._one(*pair) for pair in pairs(source, target, f".{self.form or 'npy'}")]

    def _one(self, source: str, target: str) -> Decoded:
        form = self.form or format_of(target)
        damaged: list[Damaged] = []
        with opened(source) as file:
            good = only_good(self._results(file, live=form == "raw"), damaged)
            items, packets = self._write_raw(good, target) if form == "raw" else self._write(list(good), target, form)
        return Decoded(source, target, items, packets, tuple(damaged))

    def _write_raw(self, results: Iterator[Array], target: str) -> tuple[int, int]:
        """Write items as they come; returns how many items and packets."""
        items = packets = 0
        with output(target) as sink:
            for result in results:
                write_items(sink, result, "raw")
                sink.flush()
                items, packets = items + len(result), packets + 1
        return items, packets

    def _write(self, results: list[Array], target: str, form: str) -> tuple[int, int]:
        """Write all items as one array; nothing where no packet was good."""
        if not results:
            return 0, 0
        items = np.concatenate(results)
        with output(target) as sink:
            write_items(sink, items, form)
        return len(items), len(results)

    def _results(self, file: BinaryIO, live: bool) -> Iterator[Array | Damaged]:
        if self.bare or holds_packet(file):
            data = file.read()
            result = self.decoder.decode_each([data])[0]
            yield Damaged(0, len(data), result) if isinstance(result, RemoteError) else result
        else:
            yield from self.decoder.decode_stream(file, batch=1 if live else DEFAULT_BATCH, max_packet=self.max_packet)


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
        SettingError: a folder's results would go to stdout, or two of its files to one result.
        InputFileError: the folder is empty.
    """
    path = Path(source)
    if source == STDIO or not path.is_dir():
        inside = target != STDIO and Path(target).is_dir()
        name = "stdin" if source == STDIO else path.stem
        return [(source, str(Path(target) / (name + suffix)) if inside else target)]
    if target == STDIO:
        raise SettingError(f"expected a folder for the results of folder {source}, found stdout: name one with --out")
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputFileError(f"{source}: expected a folder with files, found none")
    if len({file.stem for file in files}) < len(files):
        raise SettingError(f"{source}: expected files that differ in more than their suffix: move them apart")
    Path(target).mkdir(parents=True, exist_ok=True)
    return [(str(file), str(Path(target) / (file.stem + suffix))) for file in files]


def format_of(target: str, formats: tuple[str, ...] = FORMATS) -> str:
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
        InputFileError: the file cannot be opened.
    """
    if source == STDIO:
        yield sys.stdin.buffer
        return
    if not (os.path.isfile(source) and os.access(source, os.R_OK)):
        raise InputFileError(f"{source}: expected a file that can be read, found none or no permission")
    with Path(source).open("rb") as file:
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
    with click.progressbar(length=items, label=label, file=sys.stderr) as bar:
        yield bar.update
