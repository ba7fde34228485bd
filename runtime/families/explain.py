"""Sentences for files that encode or decode cannot take: what the file is, and the command that takes it."""

from __future__ import annotations

import importlib
import io
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.errors import (
    BundleError,
    CodecError,
    InputFileError,
    LatentwireError,
    MagicError,
    RemoteError,
    VersionError,
)
from latentwire.runtime.families.jobs import STDIO
from latentwire.runtime.files import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    RAW_SUFFIXES,
    ZIP_KIND,
    array_kind,
    codec_kind,
    kind_of,
    picture_kind,
)
from latentwire.runtime.wire import (
    CODEC_BYTES,
    LENGTH,
    MAGIC,
    PACKET_VERSION,
    PREFIX_BYTES,
    TILE_BYTES,
    TILE_MAGIC,
    Damaged,
    Packet,
    is_packet,
    parse_header,
    read_stream,
)

_SPOOLED = re.compile(r"[0-9a-f]{32}\.\d+\.packet$")
"""How a packet is called that was written out of a spool or a quarantine."""
Require = Callable[[int], None]
Fault = TypeVar("Fault", bound=LatentwireError)


def head_of(file: BinaryIO) -> bytes:
    """The first bytes of an open file, which stays where it is; none of a pipe that cannot be looked into."""
    if file.seekable():
        start = file.tell()
        head = file.read(HEAD_BYTES)
        file.seek(start)
        return head
    peek = getattr(file, "peek", None)
    return b"" if peek is None else bytes(peek(HEAD_BYTES)[:HEAD_BYTES])


def ready_name(codec: bytes) -> str | None:
    """Name of the ready codec whose id begins like that, or None where there is none.

    Args:
        codec: what packets hold of a codec id, its first four bytes.
    """
    try:
        # By name, as `find_codec` has it: the ready codecs are data beside the code, not a layer below it.
        artifacts: Any = importlib.import_module("latentwire.artifacts")
    except ModuleNotFoundError:
        return None
    for name in artifacts.names():
        try:
            if open_bundle(artifacts.locate(name)).manifest.identity.codec_digest[:CODEC_BYTES] == codec:
                return str(name)
        except BundleError:  # what is wrong with another codec is not what was asked
            continue
    return None


def refuse_packets(head: bytes, name: str, *, raw: bool) -> None:
    """Nothing if what begins like that may be items.

    Args:
        head: of values without a header all bytes, of others at least the first `HEAD_BYTES`.
        name: the file's path, or "stdin".
        raw: whether these are values without a header.

    Raises:
        InputFileError: it holds packets already, or is a codec.
    """
    at = _packet_at(head)
    if at is not None and (not raw or _is_intact(head)):
        what = "a packet" if at == 0 else "a stream of packets"
        owner = _owner(head[at + 3 : at + 3 + CODEC_BYTES])
        raise _about(
            name,
            InputFileError,
            f"expected something to encode, found {what} of {owner[0]}: it is encoded already, decode it with "
            f"`latentwire decode {owner[1]} {shlex.quote(name)}`",
        )
    kind = None if raw or array_kind(head, name) else codec_kind(head, name)
    if kind not in (None, ZIP_KIND):  # a zip may hold arrays, whatever its first bytes are
        raise _about(name, InputFileError, f"expected something to encode, found {kind}: {_advice(kind)}")


def refuse_packet_file(path: Path) -> None:
    """`refuse_packets`, of a file that can be read; another says so itself when it is."""
    try:
        with path.open("rb") as file:
            raw = path.suffix.lower() in RAW_SUFFIXES
            head = head_of(file)
            refuse_packets(file.read() if raw and _packet_at(head) is not None else head, str(path), raw=raw)
    except OSError:
        return


def are_no_packets(path: Path, formats: Sequence[str]) -> bool:
    """Whether a file in a folder of packets is what they are made of, or become, by its name and its first bytes.

    Args:
        path: of the file.
        formats: suffixes of results, without the dot.
    """
    if path.suffix.lower() not in (*IMAGE_SUFFIXES, *(f".{form}" for form in formats), ".npz"):
        return False
    try:
        with path.open("rb") as file:
            return _packet_at(head_of(file)) is None
    except OSError:
        return False  # let it fail, with its reason


def packets_required(file: BinaryIO, source: str, damaged: Sequence[Damaged], decoder: Decoder) -> Require:
    """What is to be called with the number of good packets when a file has been read, before its result is kept.

    Args:
        file: that will be read; it stays where it is.
        source: its path, or - for stdin.
        damaged: what is not good, as it will be then.
        decoder: of the packets.

    Returns:
        Raises InputFileError where there was nothing at all, and where nothing was good what `explained` says of the
        first damage.
    """
    head, name = head_of(file), "stdin" if source == STDIO else source
    own = bytes.fromhex(decoder.codec_id)[:CODEC_BYTES]

    def require(packets: int) -> None:
        if packets:
            return
        if not damaged:
            raise InputFileError(f"{name}: expected packets, found nothing")
        error = explained(damaged[0].error, head, name, own)
        error.place = error.place or {"offset": damaged[0].offset}
        raise error

    return require


def explained(fault: RemoteError, head: bytes, name: str, own: bytes) -> RemoteError:
    """The error of a file that held no packet for a decoder, saying what it holds instead where that is known.

    Args:
        fault: what is wrong with the first bytes.
        head: the first `HEAD_BYTES`, or all there are.
        name: the file's path, or "stdin".
        own: first four bytes of the decoder's codec id.
    """
    at = _packet_at(head)
    if at is None:
        return _foreign(fault, head, name, own)
    found = head[at + 3 : at + 3 + CODEC_BYTES]
    if isinstance(fault, VersionError):
        return _about(
            name,
            VersionError,
            f"expected packets of version {PACKET_VERSION}, found version {head[at + 2]}: use a release that reads it, "
            "as pip install --upgrade latentwire may bring",
        )
    if isinstance(fault, CodecError) and found != own:
        title, argument = _owner(found)
        return _about(
            name,
            CodecError,
            f"expected packets of {_owner(own)[0]}, found those of {title}: decode them with "
            f"`latentwire decode {argument} {shlex.quote(name)}`",
        )
    return fault


def _foreign(fault: RemoteError, head: bytes, name: str, own: bytes) -> RemoteError:
    """The error of something that does not even begin like packets."""
    kind = kind_of(head, name)
    if kind is not None:
        of_items = picture_kind(head) or array_kind(head, name)
        advice = f"encode it first, `latentwire encode {_owner(own)[1]} {shlex.quote(name)}`"
        return _about(name, MagicError, f"expected packets, found {kind}: {advice if of_items else _advice(kind)}")
    if _SPOOLED.search(name):
        return _about(
            name,
            MagicError,
            "expected packets, found what a sealed packet looks like: only the service that has its key and its "
            "envelope opens it",
        )
    return fault


def _advice(kind: str) -> str:
    """What to do about a file that is neither packets nor items."""
    if kind.startswith(("a bundle", "an ONNX", "a model")):
        return "that is a codec: name it first, then the file to work on"
    if kind.startswith("HTML"):
        return "a proxy or a server answered in place of the file, get it again"
    return "unpack it first" if kind.startswith(("a zip", "a gzip")) else "name another file"


def _owner(codec: bytes) -> tuple[str, str]:
    """A codec for a sentence and for a command: its name where it is a ready one, or else its id and a word for it."""
    name = ready_name(codec)
    return (f"codec {codec.hex()}", "CODEC") if name is None else (f"the codec {name} ({codec.hex()})", name)


def _packet_at(head: bytes) -> int | None:
    """Where the first packet begins, whole or not: at once, behind its length, or in a tile; None if nowhere."""
    if head.startswith(MAGIC) and (is_packet(head) or not _holds(head, LENGTH.size)):
        return 0
    if _holds(head, LENGTH.size):
        return LENGTH.size
    behind = LENGTH.size + TILE_BYTES
    return behind if head[LENGTH.size :].startswith(TILE_MAGIC) and _holds(head, behind) else None


def _holds(head: bytes, at: int) -> bool:
    return head[at:].startswith(MAGIC) and len(head) >= at + PREFIX_BYTES


def _is_intact(data: bytes) -> bool:
    """Whether the first record is a whole packet: what begins like one in values without a header may be chance."""
    try:
        if data.startswith(MAGIC) and parse_header(data).length == len(data):
            return True
    except RemoteError:
        pass
    return isinstance(next(read_stream(io.BytesIO(data)), None), Packet)


def _about(name: str, kind: type[Fault], message: str) -> Fault:
    error = kind(f"{name}: {message}")
    error.file = name
    return error
