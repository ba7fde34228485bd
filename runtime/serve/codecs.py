"""The codecs that are served, found by what a packet's header says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentwire.runtime.bundle import Identity, Trust
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.errors import CodecError, SettingError
from latentwire.runtime.families import RuntimeFamily, family_for
from latentwire.runtime.serve.settings import Bounds
from latentwire.runtime.session import Asked
from latentwire.runtime.source import open_source
from latentwire.runtime.wire import CODEC_BYTES, Header, Limits, check_packet, parse_header


@dataclass(frozen=True)
class Codec:
    """One codec, ready to decode."""

    name: str
    """As it was asked for: a bundle's folder, or a ready codec."""
    identity: Identity
    family: RuntimeFamily
    """What its items become in the sink."""
    decoder: Decoder
    """Has the whole machine for one batch."""
    beside: Decoder
    """Has one core, so that several batches run beside each other: less work in all. The same one with an
    accelerator."""
    variant: str | None = None
    """As it was asked for."""
    providers: Asked = None
    """The same."""
    trust: Trust | None = None
    """What it had to be."""

    @property
    def key(self) -> bytes:
        """What a packet's header has of the codec id."""
        return self.identity.codec_digest[:CODEC_BYTES]

    @property
    def contract(self) -> ItemContract:
        """dtype, shape and range of what is decoded."""
        return self.identity.output

    def check(self, data: bytes) -> Header:
        """A packet's header, after every check that needs no decoding.

        Raises:
            RemoteError: the first that failed.
        """
        return check_packet(data, self.identity.codec_digest, self.decoder.limits)

    def work_bytes(self, header: Header) -> int:
        """What memory and time go by: a picture of one line is worked on as whole blocks."""
        return self.decoder.work_bytes(header)


class Codecs:
    """All codecs of a service.

    Args:
        bundles: folders, zips, decoder files, names of ready codecs.
        bounds: what a packet may be and decode to; lowers the codecs' own limits.
        variant: of the synthesis transform.
        providers: where it runs.
        trust: what each has to be.

    Raises:
        BundleError: one cannot be loaded.
        MissingExtraError: a library that a codec's family needs is not installed.
        SettingError: two cannot be told apart by a packet's header.
    """

    def __init__(
        self,
        bundles: Sequence[str | Path],
        bounds: Bounds,
        *,
        variant: str | None = None,
        providers: Asked = None,
        trust: Trust | None = None,
    ) -> None:
        self._by_key: dict[bytes, Codec] = {}
        for bundle in bundles:
            identity = open_source(bundle, trust).identity
            limits = limits_within(identity, bounds)
            decoder = Decoder(
                bundle, variant=variant, providers=providers, profile="server", limits=limits, trust=trust
            )
            on_cpu = providers is None
            beside = (
                Decoder(bundle, variant=variant, profile="device", limits=limits, trust=trust) if on_cpu else decoder
            )
            self._add(Codec(str(bundle), identity, family_for(identity), decoder, beside, variant, providers, trust))

    def _add(self, codec: Codec) -> None:
        other = self._by_key.setdefault(codec.key, codec)
        if other is not codec:
            raise SettingError(
                f"expected codecs whose ids differ in the first {CODEC_BYTES} bytes, found {codec.key.hex()} in "
                f"{other.name} and {codec.name}: a packet would not say which; serve one of them"
            )

    def __iter__(self) -> Iterator[Codec]:
        return iter(self._by_key.values())

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def __getitem__(self, key: bytes) -> Codec:
        """The codec of that key.

        Raises:
            CodecError: it is not served.
        """
        if key not in self._by_key:
            served = ", ".join(sorted(found.hex() for found in self._by_key))
            raise CodecError(f"expected a packet of codec {served}, found one of {key.hex()}: serve that codec too")
        return self._by_key[key]

    def check(self, data: bytes) -> tuple[Codec, Header]:
        """The codec of a packet, and its header, after every check that needs no decoding.

        Raises:
            RemoteError: not an intact packet of a codec that is served, within the limits.
        """
        codec = self[parse_header(data).codec]
        return codec, codec.check(data)


def limits_within(identity: Identity, bounds: Bounds) -> Limits:
    """Limits such that no packet decodes to more than the bounds allow."""
    values = max(1, bounds.output_bytes // identity.output.item_bytes)
    return Limits(identity.limits.size, bounds.packet_bytes, values)
