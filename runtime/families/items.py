"""Items, many of one shape in an array [N, ...]: vectors, windows of a signal. Several share a packet."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentwire.runtime.contract import Array, ItemContract, Strays
from latentwire.runtime.decoder import DEFAULT_BATCH, Decoder
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
    only_good,
    opened,
    output,
    progress,
)
from latentwire.runtime.families.settings import Decoding, Encoding, Reading
from latentwire.runtime.files import FORMATS, conform, items_from_stdin, load_items, write_items
from latentwire.runtime.wire import Damaged, frame

Write = Callable[[BinaryIO, Array, str], None]
"""Writes decoded items [N, ...] into an open file, in a format."""


class Items:
    """The family of everything that is rows of one array; a family of your own can differ from it in a method or two.

    A family with a format of its own adds it to `formats` and writes it in `write`.
    """

    kind = "items"
    options = frozenset({"--raw", "--columns"})
    formats: tuple[str, ...] = FORMATS

    def encode_job(self, encoder: Encoder, settings: Encoding) -> ItemEncodeJob:
        """See `RuntimeFamily`."""
        return ItemEncodeJob(encoder, settings)

    def decode_job(self, decoder: Decoder, settings: Decoding) -> ItemDecodeJob:
        """See `RuntimeFamily`."""
        return ItemDecodeJob(decoder, settings, self.formats, self.write)

    def load(self, path: Path, contract: ItemContract, reading: Reading) -> Sequence[Array]:
        """A file's items as one array [N, ...]; see `RuntimeFamily`."""
        refuse_packet_file(path)
        items = load_items(path, contract, reading.columns)
        return items  # type: ignore[return-value]  # an array is one of its rows

    def values(self, items: Array, encoder: Encoder) -> list[Array]:
        """Rows of a copy: a buffer may be used again while its items wait for their batch; see `RuntimeFamily`."""
        contract = encoder.contract
        if not isinstance(items, np.ndarray):
            return list(contract.validate(items))  # says what is wrong
        return list(np.array(contract.validate(conform(items, contract, "items"))))

    def sink_form(self, wanted: str) -> str:
        """An array, whatever is wanted of pictures."""
        return "npy"

    def to_bytes(self, items: Array, form: str) -> bytes:
        """See `RuntimeFamily`; as png they are square grey pictures side by side."""
        buffer = io.BytesIO()
        self.write(buffer, items, form)
        return buffer.getvalue()

    def write(self, sink: BinaryIO, items: Array, form: str) -> None:
        """Write decoded items [N, ...] in one of `formats`.

        Raises:
            SettingError: they cannot be written like that.
        """
        write_items(sink, items, form)


@dataclass(frozen=True)
class ItemEncodeJob:
    """Encodes files of items."""

    encoder: Encoder
    settings: Encoding

    def run(self, source: str, target: str) -> Outcome[Encoded]:
        """Encode a file, a folder's files or stdin."""
        return encode_work(source, target, self.settings.bare).each(self._one)

    def _one(self, source: str, target: str) -> Encoded:
        bare = self.settings.bare
        items, strays = self._load(source)
        lengths = []
        with output(target) as sink, progress(len(items), source) as advance:
            for packet in self._packets(items):
                sink.write(packet if bare else frame(packet))
                lengths.append(len(packet))
                advance(len(items) if bare else self._batch)
        clipped, skipped = len(strays.clipped), len(strays.skipped)
        return Encoded(source, target, len(items), len(lengths), sum(lengths), clipped=clipped, skipped=skipped)

    def _load(self, source: str) -> tuple[Array, Strays]:
        """A file's items, those out of the contract's range as the settings want it: places count from its first."""
        contract, raw, columns = self.encoder.contract, self.settings.reading.raw, self.settings.reading.columns
        if source == STDIO:
            data = sys.stdin.buffer.read()
            refuse_packets(data, "stdin", raw=raw)
            items = items_from_stdin(io.BytesIO(data), contract, raw, columns)
        else:
            refuse_packet_file(Path(source))
            items = load_items(Path(source), contract, columns)
        kept, strays = contract.within(items, self.settings.out_of_range)
        if not len(kept):
            raise InputRangeError(
                f"expected an item in the codec's range, found {len(items)} that are not: none is left"
            )
        return kept, strays

    @property
    def _batch(self) -> int:
        """Items of a packet: as many as are asked for, where a packet holds several."""
        return self.settings.batch if self.encoder.batches else 1

    def _packets(self, items: Array) -> Iterator[bytes]:
        quality, most = self.settings.quality, self.settings.max_bytes
        if self.settings.bare:
            yield self.encoder.encode(items, quality, max_bytes=most)
        else:
            yield from self.encoder.encode_stream(items, quality, batch=self._batch, max_bytes=most)


@dataclass(frozen=True)
class ItemDecodeJob:
    """Decodes streams and packets of items, to files in one of ``formats``."""

    decoder: Decoder
    settings: Decoding
    formats: tuple[str, ...] = FORMATS
    write: Write = write_items

    def run(self, source: str, target: str) -> Outcome[Decoded]:
        """Decode a file, a folder's files or stdin."""
        is_result = partial(are_no_packets, formats=self.formats)
        return decode_work(source, target, f".{self.settings.form or 'npy'}", is_result).each(self._one)

    def _one(self, source: str, target: str) -> Decoded:
        form = self.settings.form or format_of(target, self.formats)
        damaged: list[Damaged] = []
        with opened(source) as file:
            require = packets_required(file, source, damaged, self.decoder)
            good = only_good(self._results(file, live=form == "raw"), damaged)
            if form == "raw":
                items, packets = self._write_raw(good, target, require)
            else:
                items, packets = self._write(list(good), target, form, require)
        return Decoded(source, target, items, packets, tuple(damaged))

    def _write_raw(self, results: Iterator[Array], target: str, require: Require) -> tuple[int, int]:
        """Write items as they come; returns how many items and packets."""
        items = packets = 0
        with output(target) as sink:
            for result in results:
                self.write(sink, result, "raw")
                sink.flush()
                items, packets = items + len(result), packets + 1
            require(packets)
        return items, packets

    def _write(self, results: list[Array], target: str, form: str, require: Require) -> tuple[int, int]:
        """Write all items as one array."""
        require(len(results))
        if len({result.shape[1:] for result in results}) > 1:
            raise SettingError(
                "expected items of one shape for one file, found several: choose raw, or decode them apart"
            )
        items = np.concatenate(results)
        with output(target) as sink:
            self.write(sink, items, form)
        return len(items), len(results)

    def _results(self, file: BinaryIO, live: bool) -> Iterator[Array | Damaged]:
        if self.settings.bare or holds_packet(file):
            data = file.read()
            result = self.decoder.decode_each([data])[0]
            yield Damaged(0, len(data), result) if isinstance(result, RemoteError) else result
        else:
            batch = 1 if live else DEFAULT_BATCH
            yield from self.decoder.decode_stream(file, batch=batch, max_packet=self.settings.max_packet)


ITEMS = Items()
