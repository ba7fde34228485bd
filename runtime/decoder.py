"""`Decoder`: packets to items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import BinaryIO, TypeVar

import numpy as np

from latentwire.runtime.bundle import read_cost
from latentwire.runtime.codec import CodecHalf
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputTypeError, RemoteError
from latentwire.runtime.session import told_by_name
from latentwire.runtime.wire import (
    DEFAULT_MAX_PACKET,
    LENGTH,
    MAX_PIXELS,
    Damaged,
    Header,
    Packet,
    Status,
    TiledPicture,
    check_packet,
    decode_tiles,
    read_stream,
    verdict,
)

DEFAULT_BATCH = 64
BATCH_BYTES = 3 << 22
"""Bytes that one synthesis makes of several packets, at most: ten pictures in colour of 768 x 512."""
Bytes = bytes | bytearray | memoryview
Feed = dict[str, Array]
"""What a synthesis transform takes for one packet, by name."""
Packed = TypeVar("Packed", bytes, Bytes)
Result = TypeVar("Result")


class Decoder(CodecHalf):
    """Packets to items.

    Safe to use from several threads at once. Every packet is checked before anything is allocated by what it claims.

    Args:
        codec: bundle (open, folder or zip), one ``decoder`` ONNX file, or the name of a ready codec such as "mnist".
        variant: of the synthesis transform; if None the bundle's default, or what runs best on the provider.
        providers: where the synthesis transform runs, as for an `Encoder`; the CPU if None.
        profile: "device" or "server" (all cores; several packets are unpacked at once).
        limits: lower ones than the codec's.
        trust: what the codec has to be, as for an `Encoder`.

    Raises:
        BundleError: the codec cannot be loaded; the subclass says why.
        ProviderError: a provider is not there. There is no fallback.
        SettingError: an unknown profile, or limits of another number of dimensions.
    """

    _ROLE = "decoder"
    _PIECES = ("synthesis", "unpack")

    def _look(self) -> None:
        role = "unpack" if self._by_pieces else self._ROLE
        self._limits = replace(self._limits, cost=read_cost(self._sessions.read(role), role, len(self._limits.size)))

    @property
    def contract(self) -> ItemContract:
        """dtype, shape and range of what comes out."""
        return self._identity.output

    def work_bytes(self, header: Header) -> int:
        """Bytes of the items of a packet as they are worked on: of a picture whole blocks, in colour.

        It may be more than they have in the end, and is what memory and time go by.
        """
        return self._limits.work(header.size) * self.contract.item_bytes

    @told_by_name
    def decode(self, packet: Bytes) -> Array:
        """The items of one packet, of the contract's dtype and shape ([N, D] for vectors, [H, W, C] for a picture).

        Raises:
            CorruptPacketError: not one whole, intact packet within the limits; the subclass says why.
            IncompatibleError: a packet of another codec or packet version.
            ResourceError: there is too little memory here; the packet is not to blame.
        """
        if self._by_pieces:
            return self._synthesize([self._unpacked(packet)])[0]
        output, status = self._sessions["decoder"].run_on_packet(["output", "status"], self._checked(packet))
        _check_status(status)
        return output

    def decode_many(self, packets: Iterable[Bytes]) -> list[Array]:
        """The items of each packet; one synthesis for all where the bundle has the pieces.

        Pictures of one size share one on an accelerator; a processor works no faster on several than on one.

        Raises:
            RemoteError: the first bad packet's; `decode_each` goes on instead.
        """
        found = self.decode_each(packets)
        for result in found:
            if isinstance(result, RemoteError):
                raise result
        return [result for result in found if not isinstance(result, RemoteError)]

    @told_by_name
    def decode_each(self, packets: Iterable[Bytes]) -> list[Array | RemoteError]:
        """For each packet its items, or what is wrong with it: a bad one does not lose its neighbours."""
        waiting = list(packets)
        if len(waiting) < 2 or not (self._by_pieces or (self._has_pieces and self.batches)):
            return [_caught(self.decode, packet) for packet in waiting]
        results: dict[int, Array | RemoteError] = {}
        for group in self._shared(waiting):
            results |= zip(group, self._decoded_together([waiting[at] for at in group]), strict=True)
        return [results[at] for at in range(len(waiting))]

    def decode_stream(
        self, source: BinaryIO, *, batch: int = DEFAULT_BATCH, max_packet: int | None = None
    ) -> Iterator[Array | Damaged]:
        """The items of each packet of a stream, and its damaged stretches, in order.

        Args:
            source: a binary file, pipe or socket file.
            batch: packets that are collected for one synthesis; 1 hands each packet's items out as soon as it is there,
                as it always is for pictures on a processor.
            max_packet: bytes of the longest packet that is accepted; None for 16 MiB, or the bytes of the largest
                picture where that is more.
        """
        records = self.read_stream(source, max_packet)
        while group := list(islice(records, batch if self.batches or self._by_pieces else 1)):
            results = iter(self.decode_each([record.data for record in group if not isinstance(record, Damaged)]))
            for record in group:
                if isinstance(record, Damaged):
                    yield record
                    continue
                result = next(results)
                if isinstance(result, RemoteError):
                    yield Damaged(record.offset, LENGTH.size + len(record.data), result)
                else:
                    yield result

    def read_stream(self, source: BinaryIO, max_packet: int | None = None) -> Iterator[Packet | Damaged]:
        """The records of a stream, not yet decoded: `latentwire.runtime.read_stream` with this codec's limits.

        Args:
            source: a binary file, pipe or socket file.
            max_packet: as in `decode_stream`.
        """
        # Noise can take a little more than its own bytes, but nobody sends that.
        longest = max(DEFAULT_MAX_PACKET, self._limits.area or 0) if max_packet is None else max_packet
        return read_stream(source, min(longest, self._limits.packet_bytes))

    @told_by_name
    def decode_tiles(
        self,
        records: Iterable[bytes | Packet | Damaged],
        out: Array | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> TiledPicture:
        """The picture of tile records, overlaps blended; where tiles are missing it is mid-grey, and says so.

        Args:
            records: in their order, as `Encoder.encode_tiles` or `read_stream` gives them.
            out: where the pixels go, uint8 [H, W, C], such as an array that is mapped to a file; a new one if None.
            max_pixels: pixels of the largest picture that is accepted.

        Raises:
            RemoteError: not one record is an intact tile; the first one's error.
            SettingError: ``out`` has another shape or dtype than the picture, or not a codec of pictures.
        """
        self.contract.require_picture()
        return decode_tiles(self, records, out, max_pixels)

    @told_by_name
    def latents(self, packet: Bytes) -> Array:
        """The packet's latents, float32, without synthesis: features for search, clustering, anomaly scores.

        Raises:
            VariantError: the codec is a lone file without the unpack piece.
            RemoteError: as in `decode`.
        """
        return self._unpack(packet, ["latents"])[0]

    @told_by_name
    def symbols(self, packet: Bytes) -> Array:
        """The packet's symbols as they were coded, int32 [P, C] for vectors and [h, w, C] for a picture.

        Raises:
            VariantError: the codec is a lone file without the unpack piece.
            RemoteError: as in `decode`.
        """
        return self._unpack(packet, ["symbols"])[0]

    def _unpack(self, packet: Bytes, names: Sequence[str]) -> list[Array]:
        """What the unpack piece says of a packet, by name."""
        *found, status = self._sessions["unpack"].run_on_packet([*names, "status"], self._checked(packet))
        _check_status(status)
        return found

    def _unpacked(self, packet: Bytes) -> Feed:
        """Everything that the synthesis transform takes comes out of the unpack piece."""
        names = self._sessions["synthesis"].input_names
        return dict(zip(names, self._unpack(packet, names), strict=True))

    def _shared(self, packets: Sequence[Bytes]) -> Iterator[list[int]]:
        """Which of them one synthesis serves, up to `BATCH_BYTES`: all items; pictures of one size.

        By what their headers say: no more is unpacked at once than a synthesis takes.
        """
        groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for at, packet in enumerate(packets):
            header = _caught(self._header, packet)
            if isinstance(header, RemoteError):  # refused again in its place, which costs nothing
                groups.setdefault((), []).append((at, 0))
            else:
                groups.setdefault(() if self.batches else header.size, []).append((at, self.work_bytes(header)))
        for group in groups.values():
            yield from _filled(group, BATCH_BYTES)

    def _decoded_together(self, packets: list[Bytes]) -> list[Array | RemoteError]:
        """As `decode_each`, in one synthesis."""
        unpacked = self._map(lambda packet: _caught(self._unpacked, packet), packets)
        feeds = [feed for feed in unpacked if not isinstance(feed, RemoteError)]
        items = iter(self._synthesize(feeds) if feeds else ())
        return [feed if isinstance(feed, RemoteError) else next(items) for feed in unpacked]

    def _synthesize(self, feeds: Sequence[Feed]) -> list[Array]:
        """The items of each, in one run; pictures are of one size, and come out one below the other."""
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0] if name != "size"}
        joined |= {name: value for name, value in feeds[0].items() if name == "size"}
        output = self._sessions["synthesis"].run(["output"], joined)[0]
        lengths = [int(feed["size"][0]) if "size" in feed else len(feed["latents"]) for feed in feeds]
        return np.split(output, np.cumsum(lengths)[:-1])

    def _checked(self, packet: Bytes) -> Array:
        self._header(packet)
        return np.frombuffer(_bytes(packet), np.uint8)

    def _header(self, packet: Bytes) -> Header:
        """The packet's, after every check that needs no model."""
        return check_packet(_bytes(packet), self._identity.codec_digest, self._limits)

    def _map(self, work: Callable[[Bytes], Feed | RemoteError], packets: list[Bytes]) -> list[Feed | RemoteError]:
        if self._profile.unpack_threads == 1:
            return [work(packet) for packet in packets]
        from concurrent.futures import ThreadPoolExecutor  # a device never needs it, and it is slow to import

        with ThreadPoolExecutor(self._profile.unpack_threads) as pool:
            return list(pool.map(work, packets))


def _filled(entries: Iterable[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """(Place, bytes) each, in order, as groups of places of at most so many bytes; one entry alone may have more."""
    group: list[int] = []
    total = 0
    for at, weight in entries:
        if group and total + weight > most:
            yield group
            group, total = [], 0
        group.append(at)
        total += weight
    if group:
        yield group


def _check_status(status: Array) -> None:
    if int(status) != Status.OK:
        raise verdict(int(status))


def _bytes(packet: Bytes) -> bytes:
    if not isinstance(packet, bytes | bytearray | memoryview):
        raise InputTypeError(f"expected a packet as bytes, found {type(packet).__name__}: pass its bytes")
    return bytes(packet)


def _caught(work: Callable[[Packed], Result], packet: Packed) -> Result | RemoteError:
    try:
        return work(packet)
    except RemoteError as fault:
        return fault
