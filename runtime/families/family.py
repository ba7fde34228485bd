"""What a family of codecs is to the commands of this layer, and which of their options are a family's own.

Packets, streams, bundles and sessions are the same for all: a family only says how files become what its codecs encode,
and what becomes of what they decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.families.jobs import Decoded, Encoded, Outcome
from latentwire.runtime.families.settings import Decoding, Encoding, Reading

_FOR_PICTURES = "it is for codecs of pictures"
OWN_OPTIONS = {
    "--raw": "values without a size are no picture: use .npy",
    "--columns": "a table's columns are values of items",
    "--background": _FOR_PICTURES,
    "--depth": _FOR_PICTURES,
    "--tile": _FOR_PICTURES,
}
"""Options that not every family has, and what is said to whoever gives one to another codec."""


class EncodeJob(Protocol):
    """Work of the command encode."""

    def run(self, source: str, target: str) -> Outcome[Encoded]:
        """Encode a file, a folder's files or stdin; files of a folder that fail are in what it returns.

        Raises:
            InputError: the one file cannot be read, or is not what the contract says.
        """


class DecodeJob(Protocol):
    """Work of the command decode."""

    def run(self, source: str, target: str) -> Outcome[Decoded]:
        """Decode a file, a folder's files or stdin; damaged packets and files that fail are in what it returns.

        Raises:
            RemoteError: not one packet of the one file is good.
        """


class RuntimeFamily(Protocol):
    """One family, as `family_for` finds it. `Items` and `Pictures` are two; others can build on them."""

    @property
    def kind(self) -> str:
        """What its codecs are made for, in messages: "a codec of ..."."""

    @property
    def options(self) -> frozenset[str]:
        """Those of `OWN_OPTIONS` that are for its codecs."""

    @property
    def formats(self) -> tuple[str, ...]:
        """What decode can write; each is a file's suffix without the dot."""

    def encode_job(self, encoder: Encoder, settings: Encoding) -> EncodeJob:
        """How files become packets.

        Raises:
            SettingError: settings that contradict each other.
        """

    def decode_job(self, decoder: Decoder, settings: Decoding) -> DecodeJob:
        """How packets become files."""

    def load(self, path: Path, contract: ItemContract, reading: Reading) -> Sequence[Array]:
        """What a file holds, one by one as the sender takes them; an array of items [N, ...] is such a sequence.

        Raises:
            InputError: the file cannot be read, or not as the contract says.
        """

    def values(self, items: Array, encoder: Encoder) -> list[Array]:
        """The items of what was put into a sender, one by one, checked, as they are gathered to packets.

        Args:
            items: as `Encoder.encode` takes them; whoever put them may change them as soon as this returns.
            encoder: that will encode them.

        Raises:
            InputError: not what the contract says.
            SettingError: more than one packet of this sender can hold.
        """

    def sink_form(self, wanted: str) -> str:
        """The format in which the service stores what it decodes, where pictures are wanted as ``wanted``."""

    def to_bytes(self, items: Array, form: str) -> bytes:
        """The items of one packet as the content of a file.

        Args:
            items: what a packet decoded to.
            form: what `sink_form` returned, or "png" or "npy" where a client asks for it.

        Raises:
            SettingError: these items cannot be written like that.
        """


def refuse_others(family: RuntimeFamily, asked: Iterable[str]) -> None:
    """Nothing if all the options that were given are ones for this family's codecs.

    Raises:
        SettingError: names the first that is not.
    """
    for name in asked:
        if name not in family.options:
            raise SettingError(f"expected options for a codec of {family.kind}, found {name}: {OWN_OPTIONS[name]}")


def check_form(family: RuntimeFamily, form: str | None) -> None:
    """Nothing if a family writes that format, or none was asked for.

    Raises:
        SettingError: it does not.
    """
    if form is not None and form not in family.formats:
        raise SettingError(
            f"expected options for a codec of {family.kind}, found --format {form}: choose {', '.join(family.formats)}"
        )
