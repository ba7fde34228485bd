"""Which TIFF files are shown as they should look, by their tags (TIFF 6.0; numbers in brackets are those of tags).

Pillow opens many more, some of them wrong: WhiteIsZero of 16 bits as its negative, deep samples in planes, palettes of
small numbers as black, uncompressed YCbCr whatever its coefficients are, a thumbnail for what is beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

PHOTOMETRIC = {0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr"}
OTHERS = {4: "a transparency mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a colour filter array",
          32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}  # fmt: skip
SAMPLES = {2: "signed samples", 3: "floating-point samples", 4: "samples of no stated kind"}
JPEG = 7
ASSOCIATED, UNASSOCIATED = 1, 2


MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def reason(file: BinaryIO) -> str:
    """What there is in a file that Pillow does not open at all; it is damaged if its tags cannot be read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        file.seek(0)
        head = file.read(8)
        tags: Any = ImageFileDirectory_v2(head + file.read(8) if b"+" in head[2:4] else head)
        file.seek(tags.next)
        tags.load(file)
        bits = "/".join(str(value) for value in several(tags, 258, (1,)))
        return fault_of(tags) or f"TIFF of {PHOTOMETRIC[tags.get(262, 0)]}, {bits} bits, which Pillow does not read"
    except Exception:  # whatever Pillow runs into in a damaged file
        return "a TIFF picture that is damaged"


def several(tags: Mapping[int, Any], tag: int, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of a tag."""
    found = tags.get(tag, otherwise)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def depth_of(tags: Mapping[int, Any]) -> int:
    """Bits of the deepest sample (258)."""
    return max(several(tags, 258, (1,)))


def fault_of(tags: Mapping[int, Any]) -> str | None:
    """What there is in a file that cannot be shown for certain; None for all others."""
    photometric, depth = tags.get(262, 0), depth_of(tags)
    if tags.get(254, 0) & 0b101 or 50706 in tags:
        return "a thumbnail or a mask of what is elsewhere in the file"
    if photometric not in PHOTOMETRIC:
        return OTHERS.get(photometric, f"photometric interpretation {photometric}")
    kinds = [SAMPLES.get(kind, f"samples of format {kind}") for kind in several(tags, 339, (1,)) if kind != 1]
    if kinds:
        return kinds[0]
    if len(set(several(tags, 258, (1,)))) > 1:
        return "samples of several depths"
    if depth > 16 or (depth > 8 and photometric not in (0, 1, 2)):
        return f"{PHOTOMETRIC[photometric]} of {depth} bits"
    if depth > 8 and (tags.get(284, 1) != 1 or tags.get(266, 1) != 1):
        return f"samples of {depth} bits in planes, or with their bits reversed"
    return _extra_fault(tags, photometric) or _colour_fault(tags, photometric)


def _extra_fault(tags: Mapping[int, Any], photometric: int) -> str | None:
    """What is beside the colours (277, 338): nothing, or alpha that says which kind it is."""
    colours = {2: 3, 5: 4, 6: 3}.get(photometric, 1)
    count, extra = tags.get(277, colours), several(tags, 338, ())
    if photometric == 6 and count == 1:
        return None
    if count - len(extra) != colours:
        return "a channel whose meaning is not told"
    if extra and (len(extra) > 1 or extra[0] not in (ASSOCIATED, UNASSOCIATED) or photometric not in (1, 2)):
        return "channels beside the colours that are not simply alpha"
    return None


def _colour_fault(tags: Mapping[int, Any], photometric: int) -> str | None:
    if photometric == 3 and max(several(tags, 320, (0,))) < 256:
        return "a palette of 8 bits, where 16 are the rule"
    if photometric == 5 and tags.get(332, 1) != 1:
        return "inks other than CMYK"
    if photometric == 6 and tags.get(259) != JPEG:
        return "YCbCr that is not compressed as JPEG"
    return None
