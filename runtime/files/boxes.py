"""What AVIF, HEIC and JPEG 2000 say of themselves in front of their pixels, which Pillow does not hand on.

Boxes are those of ISO/IEC 14496-12 (4.2), which they all use: a length, a name, what is in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
"""Of pictures coded as HEVC (ISO/IEC 23008-12, annex B)."""
_MOST = 64
"""More boxes side by side are more than any picture has, in front of its pixels."""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(Name, content) of the boxes that lie side by side in ``data``; the last may be cut."""
    at = 0
    for _ in range(_MOST):
        if at + 8 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            start = at + 16
        end = len(data) if size == 0 else at + size
        if end < start:
            return
        yield name, data[start:end]
        at = end


def inside(data: bytes, *names: bytes) -> bytes:
    """The content of a box in a box in ... ``data``; empty if there is none."""
    for name in names:
        data = next((content for found, content in boxes(data) if found == name), b"")
    return data


def brands(head: bytes) -> set[bytes]:
    """What a file of boxes says that it is; empty for another."""
    if head[4:8] != b"ftyp":
        return set()
    content = inside(head, b"ftyp")
    return {content[:4], *(content[at : at + 4] for at in range(8, len(content) - 3, 4))}


@dataclass(frozen=True)
class Coded:
    """What a picture says of its samples.

    Attributes:
        depth: bits of its deepest sample.
        profile: ICC.
        code_points: primaries and transfer (ITU-T H.273).
        premultiplied: whether colours are already multiplied by alpha.
        cropped: whether only a part of the samples is the picture (clap).
        fault: what there is that cannot be shown for certain.
    """

    depth: int = 8
    profile: bytes | None = None
    code_points: tuple[int, int] | None = None
    premultiplied: bool = False
    cropped: bool = False
    fault: str | None = None


def of_heif(data: bytes) -> Coded:
    """AVIF and HEIC (ISO/IEC 23008-12): all properties of all items, since a picture may be a grid of items."""
    meta = inside(data, b"meta")[4:]
    properties = list(boxes(inside(meta, b"iprp", b"ipco")))
    depths = [depth for name, content in properties if name == b"pixi" for depth in content[5 : 5 + content[4]]]
    depths += [_av1_depth(content) for name, content in properties if name == b"av1C"]
    colours = [content for name, content in properties if name == b"colr"]
    profiles = [content[4:] for content in colours if content[:4] in (b"prof", b"rICC")]
    points = {struct.unpack_from(">HH", content, 4) for content in colours if content[:4] == b"nclx"}
    several = "several colour spaces" if len(points) > 1 and not profiles else None
    return Coded(
        depth=max(depths, default=8),
        profile=profiles[0] if profiles else None,
        code_points=next(iter(points)) if len(points) == 1 else None,
        premultiplied=any(kind == b"prem" for kind, _ in boxes(inside(meta, b"iref")[4:])),
        cropped=any(name == b"clap" for name, _ in properties),
        fault=several,
    )


def _av1_depth(content: bytes) -> int:
    """AV1 in ISOBMFF, 2.3.3: high_bitdepth, twelve_bit."""
    high = content[2] if len(content) > 2 else 0
    return (12 if high & 0x20 else 10) if high & 0x40 else 8


ENUMERATED = (16, 17)
"""sRGB and grey: ISO/IEC 15444-1, table I.10."""


def of_jpeg2000(data: bytes) -> Coded:
    """JPEG 2000 (ISO/IEC 15444-1, annexes A.5.1 and I.5.3): a bare stream, or one in boxes."""
    if data.startswith(b"\xff\x4f\xff\x51"):
        depth, fault = _siz(data)
        return Coded(depth, fault=fault)
    header = list(boxes(inside(data, b"jp2h")))
    depth, fault = _siz(inside(data, b"jp2c"))
    colour = next((content for name, content in header if name == b"colr"), b"\1\0\0\0\0\0\x10")
    if colour[0] == 1:
        (kind,) = struct.unpack_from(">I", colour, 3)
        if kind not in ENUMERATED:
            fault = f"the colour space {kind} of JPEG 2000"
    elif colour[0] != 2:
        fault = f"a colour space by method {colour[0]} of JPEG 2000"
    if any(name == b"pclr" for name, _ in header):
        fault = "a palette in JPEG 2000"
    definitions = next((content for name, content in header if name == b"cdef"), b"\0\0")
    return Coded(
        depth=depth,
        profile=colour[3:] if colour[0] == 2 else None,
        fault=fault or _definitions_fault(definitions),
    )


def _siz(stream: bytes) -> tuple[int, str | None]:
    """Depth of the samples, and what is uncommon about them."""
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 42:
        return 8, "a JPEG 2000 stream without its sizes"
    (count,) = struct.unpack_from(">H", stream, 40)
    parts = [tuple(stream[at : at + 3]) for at in range(42, 42 + 3 * count, 3)]
    if len(set(parts)) != 1 or parts[0][1:] != (1, 1):
        return 8, "samples of several depths or sizes"
    depth = parts[0][0] + 1
    if depth > 16:
        return 8, "signed samples, or such of more than 16 bits"
    return depth, None if depth >= 8 else f"samples of {depth} bits in JPEG 2000"


def _definitions_fault(content: bytes) -> str | None:
    """I.5.3.6: colours in their own order, then at most one alpha of the whole picture that is not premultiplied."""
    (count,) = struct.unpack_from(">H", content)
    for at in range(count):
        channel, kind, place = struct.unpack_from(">HHH", content, 2 + 6 * at)
        if (kind, place) not in ((0, channel + 1), (1, 0)):
            return "channels of another meaning than colour and alpha"
    return None
