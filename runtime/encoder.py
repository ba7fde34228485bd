"""`Encoder`: items to packets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from latentwire.runtime.budget import highest_quality
from latentwire.runtime.codec import CodecHalf
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import InputLimitError, ModelError, RemoteError, SettingError
from latentwire.runtime.session import scalar, told_by_name
from latentwire.runtime.wire import DEFAULT_OVERLAP, DEFAULT_TILE, check_packet, encode_tiles

DEFAULT_BATCH = 64


class Encoder(CodecHalf):
    """Items to packets.

    Safe to use from several threads at once.

    Args:
        codec: bundle (open, folder or zip), one ``encoder`` ONNX file, or the name of a ready codec such as "mnist".
        variant: of the analysis transform; if None the bundle's default, or what runs best on the provider.
        providers: where the analysis transform runs: "cpu", "cuda", "auto" (the first accelerator that works, else the
            CPU), or a list of names, each alone or with its options: `[("openvino", {"device_type": "GPU"})]`. The CPU
            if None; `placement` says what came of it.
        profile: "device" (one thread, lowest latency and power) or "server".
        limits: lower ones than the codec's.
        trust: what the codec has to be: pinned, signed; a text as codec may end with pins: "photo@sha256:HEX".

    Raises:
        BundleError: the codec cannot be loaded; the subclass says why.
        ProviderError: a provider is not there. There is no fallback.
        SettingError: an unknown profile, or limits of another number of dimensions.
    """

    _ROLE = "encoder"
    _PIECES = ("analysis", "pack")

    @property
    def contract(self) -> ItemContract:
        """dtype, shape and range of the items."""
        return self._identity.input

    @property
    def default_batch(self) -> int:
        """Items in a packet when none is asked for."""
        return DEFAULT_BATCH if self.batches else 1

    @told_by_name
    def encode(self, items: Array, quality: int | None = None, *, max_bytes: int | None = None) -> bytes:
        """One packet.

        Args:
            items: array of the contract's dtype, its shape ([N, D] for vectors, [H, W, C] for a picture), or without
                the axis that has length 1: one vector [D], a grey picture [H, W].
            quality: 0..255; the codec's default if None. With ``max_bytes`` the highest to try, 255 if None.
            max_bytes: take the highest quality whose packet has at most that many bytes.

        Raises:
            InputError: the items are not what the contract says; the subclass names dtype, shape, range or limit.
            SettingError: quality or max_bytes out of range.
            BudgetError: not even quality 0 fits into ``max_bytes``.
            ResourceError: there is too little memory here.
            ModelError: the model does not make a packet of it.
        """
        checked = self._checked(items)
        if max_bytes is None:
            level = self.default_quality if quality is None else check_quality(quality)
            return self._encode(checked, level)
        highest = 255 if quality is None else check_quality(quality)
        return highest_quality(self._repeatable(checked), max_bytes, highest)[1]

    def encode_stream(
        self,
        items: Iterable[Array],
        quality: int | None = None,
        *,
        batch: int | None = None,
        max_bytes: int | None = None,
    ) -> Iterator[bytes]:
        """Packets of up to ``batch`` items each, made while items arrive.

        Args:
            items: items one by one, or an array of them [N, ...]; pictures may differ in size.
            quality: as in `encode`.
            batch: items in a packet; None for 64, or 1 where the codec takes one item at a time.
            max_bytes: as in `encode`, for each packet.

        Raises:
            SettingError: ``batch`` is below 1, or above 1 where the codec takes one item at a time.
            InputError: as in `encode`, when the packet's turn comes.
        """
        count = self.default_batch if batch is None else batch
        if count < 1 or (count > 1 and not self.batches):
            raise SettingError(f"expected a batch from 1{'' if self.batches else ' to 1'}, found {count}")
        arriving = iter(items)
        while group := list(islice(arriving, count)):
            stacked = np.stack(group) if self.batches else group[0]
            yield self.encode(stacked, quality, max_bytes=max_bytes)

    @told_by_name
    def encode_tiles(
        self, picture: Array, quality: int | None = None, *, tile: int = DEFAULT_TILE, overlap: int = DEFAULT_OVERLAP
    ) -> Iterator[bytes]:
        """Tile records of a picture of any size, for `Decoder.decode_tiles`; they are made one by one.

        Args:
            picture: uint8 [H, W] or [H, W, C]; of an array that is mapped from a file only the tile at hand is read.
            quality: as in `encode`.
            tile: largest side of a tile, in pixels.
            overlap: pixels that neighbours share, at most half of ``tile``: the decoder blends them.

        Returns:
            The records. A picture that is no larger than one tile is a single ordinary packet.

        Raises:
            SettingError: ``tile`` or ``overlap`` out of range, or not a codec of pictures.
            InputError: as in `encode`; `InputLimitError` when a tile is larger than a packet may hold.
        """
        self.contract.require_picture()
        checked = self.contract.validate(self.contract.completed(picture))
        return encode_tiles(self, checked, quality, tile, overlap)

    def _checked(self, items: Array) -> Array:
        checked = self.contract.validate(self.contract.completed(items))
        size = self._size(checked)
        if not self._limits.allow(size):
            advice = "use more packets" if self.batches else "encode smaller ones, or a picture as tiles"
            raise InputLimitError(f"expected a size of {self._limits.describe()}, found {list(size)}: {advice}")
        return checked

    def _size(self, items: Array) -> tuple[int, ...]:
        return tuple(items.shape[axis] for axis in self._identity.size_axes)

    def _encode(self, items: Array, quality: int) -> bytes:
        if self._by_pieces:
            return self._repeatable(items)(quality)
        feed = {"input": items, "quality": scalar(quality, np.uint8)}
        return self._sent(self._sessions["encoder"].run(["packet"], feed)[0], self._size(items), quality)

    def _repeatable(self, items: Array) -> Callable[[int], bytes]:
        """Quality -> packet, by the pieces where they are at hand."""
        if not self._has_pieces:
            return lambda quality: self._encode(items, quality)
        latents, pack = self._analysed(items), self._sessions["pack"]
        size = self._size(items)
        given = np.asarray(size, np.int64)

        def encode(quality: int) -> bytes:
            feed = {"latents": latents(quality), "quality": scalar(quality, np.uint8), "size": given}
            return self._sent(pack.run(["packet"], feed)[0], size, quality)

        return encode

    def _analysed(self, items: Array) -> Callable[[int], Array]:
        """Quality -> latents; computed only once where the analysis transform does not ask for the quality."""
        analysis = self._sessions["analysis"]
        if "quality" in analysis.input_names:
            held = analysis.held(items)
            return lambda quality: analysis.run(["latents"], {"input": held, "quality": scalar(quality, np.uint8)})[0]
        latents = analysis.run(["latents"], {"input": items})[0]
        return lambda _: latents

    def _sent(self, packet: Array, size: tuple[int, ...], quality: int) -> bytes:
        """The packet's bytes, after it was looked at: a model may return anything."""
        if not isinstance(packet, np.ndarray) or packet.dtype != np.uint8 or packet.ndim != 1:
            raise self._no_packet(f"an array uint8 [n], found {getattr(packet, 'dtype', type(packet).__name__)}")
        if packet.size > self._limits.packet_bytes:
            raise InputLimitError(
                f"expected a packet of at most {self._limits.packet_bytes} bytes, found {packet.size}: "
                "use more packets or a lower quality"
            )
        data = packet.tobytes()
        try:
            header = check_packet(data, self._identity.codec_digest, self._identity.limits)
        except RemoteError as fault:
            raise self._no_packet(f"one, found other bytes: {fault}") from fault
        if (header.size, header.quality) != (size, quality):
            raise self._no_packet(
                f"size {list(size)} and quality {quality}, found {list(header.size)} and {header.quality}"
            )
        return data

    def _no_packet(self, found: str) -> ModelError:
        return ModelError(
            f"the {self._ROLE} of this codec: expected to make packets of it: expected {found}; do not use it"
        )


def check_quality(quality: int) -> int:
    """The quality as a Python int.

    Raises:
        SettingError: not an integer in [0, 255].
    """
    if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 0 <= quality <= 255:
        raise SettingError(f"expected a quality as an integer in [0, 255], found {quality!r}")
    return int(quality)
