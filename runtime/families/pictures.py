"""Pictures, uint8 [H, W, C] of any size: one a file, one a packet or a stream of tiles."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array, ItemContract, Strays
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import InputRangeError, RemoteError, SettingError
from latentwire.runtime.families.explain import (
    Require,
    are_no_packets,
    packets_required,
    refuse_packet_file,
    refuse_packets,
)
from latentwire.runtime.families.folders import decode_work, encode_work
from latentwire.runtime.families.jobs import (
    STDIO,
    Decoded,
    Encoded,
    Outcome,
    format_of,
    holds_packet,
    opened,
    output,
    progress,
)
from latentwire.runtime.families.settings import Decoding, Encoding, Reading
from latentwire.runtime.files import (
    PICTURE_FORMATS,
    PictureOptions,
    PngRows,
    load_picture,
    picture_from,
    row_sink,
    write_items,
)
from latentwire.runtime.wire import LENGTH, Damaged, Hole, Mosaic, Packet, check_tiling, frame, spans


class Pictures:
    """The family of pictures."""

    kind = "pictures"
    options = frozenset({"--background", "--depth", "--tile"})
    formats: tuple[str, ...] = PICTURE_FORMATS

    def encode_job(self, encoder: Encoder, settings: Encoding) -> PictureEncodeJob:
        """See `RuntimeFamily`."""
        return PictureEncodeJob(encoder, settings)

    def decode_job(self, decoder: Decoder, settings: Decoding) -> PictureDecodeJob:
        """See `RuntimeFamily`."""
        return PictureDecodeJob(decoder, settings)

    def load(self, path: Path, contract: ItemContract, reading: Reading) -> Sequence[Array]:
        """The one picture of a file; see `RuntimeFamily`."""
        refuse_packet_file(path)
        return [load_picture(path, PictureOptions(reading.background, reading.depth))]

    def values(self, items: Array, encoder: Encoder) -> list[Array]:
        """One picture, which is encoded before its buffer can be used again; see `RuntimeFamily`."""
        shape = (*items.shape, 1)[:3] if isinstance(items, np.ndarray) and items.ndim in (2, 3) else None
        if shape is not None and 0 not in shape:
            limits = encoder.limits
            if not limits.allow(shape) and limits.allow((1, 1, shape[2])):
                raise SettingError(
                    f"expected a picture of {limits.describe()}, found {list(items.shape)}: resize it, or cut it"
                )
        return [items]

    def sink_form(self, wanted: str) -> str:
        """As it is wanted."""
        return wanted

    def to_bytes(self, items: Array, form: str) -> bytes:
        """See `RuntimeFamily`."""
        buffer = io.BytesIO()
        if form == "png":
            height, width, channels = items.shape
            rows = PngRows(buffer, (height, width, channels), quick=True)
            rows.write(np.ascontiguousarray(items))
            rows.close()
        else:
            write_items(buffer, items, form)
        return buffer.getvalue()


@dataclass(frozen=True)
class PictureEncodeJob:
    """Encodes files of pictures, each to one packet or to tiles.

    Raises:
        SettingError: settings that contradict each other.
    """

    encoder: Encoder
    settings: Encoding

    def __post_init__(self) -> None:
        settings = self.settings
        if settings.tile is None:
            return
        check_tiling(settings.tile, settings.overlap)
        if settings.bare:
            raise SettingError("expected --packet or --tile, found both: tiles need the frames of a stream")
        if settings.max_bytes is not None:
            raise SettingError(
                "expected --max-bytes or --tile, found both: tiles of different quality would show their edges"
            )

    def run(self, source: str, target: str) -> Outcome[Encoded]:
        """Encode a file, a folder's files or stdin."""
        return encode_work(source, target, self.settings.bare).each(self._one)

    def _one(self, source: str, target: str) -> Encoded:
        picture, strays = self._within(self._load(source))
        packets = packet_bytes = 0
        with output(target) as sink, progress(self._count(picture), source) as advance:
            for record in self._records(picture):
                sink.write(record if self.settings.bare else frame(record))
                packets, packet_bytes = packets + 1, packet_bytes + len(record)
                advance(1)
        channels = picture.shape[2] if picture.ndim == 3 else 1
        size = (*picture.shape[:2], channels)
        return Encoded(source, target, 1, packets, packet_bytes, size, clipped=len(strays.clipped))

    def _within(self, picture: Array) -> tuple[Array, Strays]:
        """The picture as the settings want it where it has values out of the codec's range."""
        contract = self.encoder.contract
        kept, strays = contract.within(contract.completed(picture), self.settings.out_of_range, several=False)
        if strays.skipped:
            raise InputRangeError("expected a picture in the codec's range, found another: it is left out")
        return kept, strays

    def _load(self, source: str) -> Array:
        reading, tile = self.settings.reading, self.settings.tile
        options = PictureOptions(reading.background, reading.depth, None if tile else self.encoder.limits)
        if source != STDIO:
            refuse_packet_file(Path(source))
            return load_picture(Path(source), options)
        data = sys.stdin.buffer.read()
        refuse_packets(data, "stdin", raw=False)
        return picture_from(io.BytesIO(data), "stdin", options)

    def _records(self, picture: Array) -> Iterator[bytes]:
        settings = self.settings
        if settings.tile is None:
            return iter([self.encoder.encode(picture, settings.quality, max_bytes=settings.max_bytes)])
        return self.encoder.encode_tiles(picture, settings.quality, tile=settings.tile, overlap=settings.overlap)

    def _count(self, picture: Array) -> int:
        """Packets that it will be, for the progress."""
        tile, overlap = self.settings.tile, self.settings.overlap
        if tile is None or picture.ndim < 2:
            return 1
        rows, columns = (len(spans(length, tile, overlap)) for length in picture.shape[:2])
        return rows * columns


@dataclass(frozen=True)
class PictureDecodeJob:
    """Decodes streams and packets of pictures, each to a file of its own."""

    decoder: Decoder
    settings: Decoding

    def run(self, source: str, target: str) -> Outcome[Decoded]:
        """Decode a file, a folder's files or stdin."""
        is_result = partial(are_no_packets, formats=PICTURE_FORMATS)
        work = decode_work(source, target, f".{self.settings.form or 'png'}", is_result)
        return work.each(partial(self._one, is_taken=work.is_taken))

    def _one(self, source: str, target: str, is_taken: Callable[[str], bool]) -> Decoded:
        form = self.settings.form or format_of(target, PICTURE_FORMATS)
        damaged: list[Damaged] = []
        holes: list[Hole] = []
        with opened(source) as file:
            require = packets_required(file, source, damaged, self.decoder)
            pictures = self._pictures(file, damaged, holes)
            if form == "raw":
                names, pictures_there, packets = self._write_flow(pictures, target, require)
            else:
                names, pictures_there, packets = self._write(pictures, target, form, is_taken)
                require(packets)
        return Decoded(source, names, pictures_there, packets, tuple(damaged), tuple(holes))

    def _write_flow(self, pictures: Iterator[_Picture], target: str, require: Require) -> tuple[str, int, int]:
        """Write pixels as they come, whatever number of pictures."""
        number = packets = 0
        with output(target) as sink:
            for picture in pictures:
                for rows in picture.rows():
                    row_sink(sink, "raw", picture.shape).write(rows)
                    sink.flush()
                number, packets = number + 1, packets + picture.packets
            require(packets)
        return target, number, packets

    def _write(
        self, pictures: Iterator[_Picture], target: str, form: str, is_taken: Callable[[str], bool]
    ) -> tuple[str, int, int]:
        """One file for each picture; from the second on their names are numbered, past those that are taken."""
        names: list[str] = []
        further = (name for number in count(2) if not is_taken(name := numbered(target, number)))
        packets = 0
        for picture in pictures:
            if names and target == STDIO:
                raise SettingError("expected one picture for stdout, found several: name a file with --out")
            names.append(next(further) if names else target)
            picture.write(names[-1], form)
            packets += picture.packets
        return " .. ".join({names[0]: 0, names[-1]: 0}) if names else target, len(names), packets

    def _pictures(self, file: BinaryIO, damaged: list[Damaged], holes: list[Hole]) -> Iterator[_Picture]:
        """The stream's pictures; a stream whose first intact record is a tile holds one. The lists are filled."""
        if self.settings.bare or holds_packet(file):
            records: Iterator[Packet | Damaged] = iter([Packet(0, file.read())])
            overhead = 0
        else:
            records = self.decoder.read_stream(file, self.settings.max_packet)
            overhead = LENGTH.size
        for record in records:
            if isinstance(record, Damaged):
                damaged.append(record)
            elif record.is_tile:
                mosaic = Mosaic(self.decoder, chain([record], records), self.settings.max_pixels)
                if mosaic.shape is not None:
                    yield _Tiled(mosaic)
                damaged += mosaic.damaged
                holes += mosaic.holes
            else:
                try:
                    yield _Single(self.decoder.decode(record.data))
                except RemoteError as fault:
                    damaged.append(Damaged(record.offset, overhead + len(record.data), fault))


class _Picture:
    """A picture whose rows come from the top, once."""

    shape: tuple[int, int, int]

    @property
    def packets(self) -> int:
        raise NotImplementedError

    def rows(self) -> Iterator[Array]:
        raise NotImplementedError

    def write(self, target: str, form: str) -> None:
        with output(target) as sink:
            rows = row_sink(sink, form, self.shape)
            for part in self.rows():
                rows.write(part)
            rows.close()


class _Single(_Picture):
    def __init__(self, pixels: Array) -> None:
        self._pixels = pixels
        height, width, channels = pixels.shape
        self.shape = (height, width, channels)

    @property
    def packets(self) -> int:
        return 1

    def rows(self) -> Iterator[Array]:
        yield self._pixels


class _Tiled(_Picture):
    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic, self.shape = mosaic, mosaic.require_shape()

    @property
    def packets(self) -> int:
        return self._mosaic.tiles

    def rows(self) -> Iterator[Array]:
        return self._mosaic.rows()


def numbered(target: str, number: int) -> str:
    """``out.png`` -> ``out-2.png``."""
    path = Path(target)
    return str(path.with_name(f"{path.stem}-{number}{path.suffix}"))


PICTURES = Pictures()
