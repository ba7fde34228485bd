"""What a picture file says of its samples, as far as Pillow does not act on it: their depth, colours and alpha.

Whatever cannot be shown for certain is refused here, before any pixel is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from latentwire.runtime.errors import InputChoiceError, InputFileError
from latentwire.runtime.files import tiff
from latentwire.runtime.files.arrays import Source
from latentwire.runtime.files.boxes import Coded, of_heif, of_jpeg2000
from latentwire.runtime.files.colours import Primaries, Space, by_code_points, by_gamma
from latentwire.runtime.files.jxl import jxl_head

if TYPE_CHECKING:
    from PIL import Image

FULL = 65535
_Error = TypeVar("_Error", bound=InputFileError)


@dataclass(frozen=True)
class Facts:
    """What a file says of its samples.

    Attributes:
        depth: bits of a sample.
        top: the largest sample of grey that is deeper than 8 bits, as Pillow reads it.
        negative: whether 0 is white in grey that is deeper than 8 bits.
        profile: ICC; None where the file has none, or something better.
        space: what the samples mean where the profile is of no use; None for sRGB.
        key: the one colour of deep samples that is transparent.
        premultiplied: whether colours are multiplied by alpha, where samples are deep.
        splits: whether both halves of samples of 16 bits can be had.
        turned: whether the file's orientation is applied already.
    """

    depth: int = 8
    top: int = FULL
    negative: bool = False
    profile: bytes | None = None
    space: Space | None = None
    key: tuple[int, ...] | None = None
    premultiplied: bool = False
    splits: bool = False
    turned: bool = False


def facts_of(image: Image.Image, file: BinaryIO, name: Source) -> Facts:
    """The facts of an open picture whose pixels are not read yet.

    Args:
        image: as Pillow opened it; a transparent colour that Pillow gets wrong is corrected.
        file: what it was opened from; where it stands stays as it is.
        name: of the file.

    Raises:
        InputFileError: it cannot be shown for certain.
    """
    read, place = READERS.get(image.format or "", _nothing), file.tell()
    try:
        file.seek(0)
        found = read(image, file, Facts(profile=image.info.get("icc_profile") or None))
    except ValueError as fault:  # what the readers raise; struct.error is none
        raise refused(name, "a picture whose colours are certain", str(fault)) from fault
    finally:
        file.seek(place)
    return found


def refused(name: Source, expected: str, found: str, advice: str = "convert it first") -> InputFileError:
    """The error of a picture that could only be shown wrong."""
    return _about(name, InputFileError(f"{name}: expected {expected}, found {found}: {advice}"))


def undecided(name: Source, expected: str, found: str, advice: str) -> InputChoiceError:
    """The error of a picture that an option would let in."""
    return _about(name, InputChoiceError(f"{name}: expected {expected}, found {found}: {advice}"))


def _about(name: Source, error: _Error) -> _Error:
    error.file = str(name)
    return error


def _nothing(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    return facts


def _png(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    """PNG, third edition: of cICP, iCCP, sRGB, gAMA with cHRM the first counts (section 4.3)."""
    chunks = png_chunks(file)
    depth, kind = chunks[b"IHDR"][8:10]
    key: tuple[int, ...] | None = None
    if b"tRNS" in chunks and kind in (0, 2):
        values = struct.unpack(">H" if kind == 0 else ">3H", chunks[b"tRNS"][: 2 if kind == 0 else 6])
        if depth == 16:
            key = values
            image.info.pop("transparency", None)  # as if samples had 8
        elif depth in (2, 4):
            image.info["transparency"] = values[0] * 255 // ((1 << depth) - 1)  # Pillow scales samples only
    found = replace(facts, depth=max(8, depth), key=key, splits=True)
    if b"cICP" in chunks:
        primaries, transfer, matrix, whole = chunks[b"cICP"][:4]
        if matrix or whole != 1:
            raise ValueError("code points of PNG other than RGB of full range")
        return replace(found, profile=None, space=by_code_points(primaries, transfer))
    if b"sRGB" in chunks:
        return found
    gamma, primaries_of = chunks.get(b"gAMA"), chunks.get(b"cHRM")
    return replace(
        found,
        space=by_gamma(
            None if gamma is None else struct.unpack(">I", gamma)[0] / 100_000,
            None if primaries_of is None or kind in (0, 4) else _chromaticities(primaries_of),
        ),
    )


def _chromaticities(chunk: bytes) -> Primaries:
    values = [value / 100_000 for value in struct.unpack(">8I", chunk)]
    white, red, green, blue = (values[at : at + 2] for at in range(0, 8, 2))
    return ((red[0], red[1]), (green[0], green[1]), (blue[0], blue[1]), (white[0], white[1]))


def png_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks in front of the first IDAT by name, of each the first; contents longer than 1 KiB are cut."""
    file.seek(8)
    chunks: dict[bytes, bytes] = {}
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IDAT":
            break
        content = file.read(min(length, 1024))
        chunks.setdefault(name, content)
        file.seek(length - len(content) + 4, 1)
    return chunks


def _tiff(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]  # of TIFF files
    fault = tiff.fault_of(tags)
    if fault is not None:
        raise ValueError(fault)
    depth = tiff.depth_of(tags)
    return replace(
        facts,
        depth=max(8, depth),
        top=FULL if depth in (8, 16) else (1 << depth) - 1,
        negative=tags.get(262, 0) == 0,
        premultiplied=tiff.several(tags, 338, ()) == (tiff.ASSOCIATED,),
        splits=depth == 16,
    )


def _jpeg(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    if image.mode == "CMYK" and "adobe" not in image.info:
        raise ValueError("CMYK without Adobe's mark, which tells whether 0 is ink or paper")
    return facts


def _bmp(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    """BITMAPV4HEADER and BITMAPV5HEADER have a colour space."""
    start = 14 if file.read(2) == b"BM" else 0
    file.seek(start)
    head = file.read(124)
    if head[0] < 108:
        return facts
    kind, profile_at, size = head[56:60][::-1], *struct.unpack_from("<II", head.ljust(124, b"\0"), 112)
    if kind == b"MBED" and head[0] >= 124:
        file.seek(start + profile_at)
        return replace(facts, profile=file.read(size))
    if kind == b"LINK" or (kind == bytes(4) and any(head[60:108])):
        raise ValueError("a BMP whose colours are calibrated or described elsewhere")
    return facts


def _ppm(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    """The largest sample need not fill its bits; Pillow scales it, to 16 bits for grey, to 8 for colour."""
    if image.mode not in ("1", "L", "I", "I;16", "I;16B", "RGB"):
        raise ValueError(f"a PNM file of mode {image.mode}")
    decoder, *arguments = _tiles(image)[0]
    if decoder == "raw":
        return replace(facts, depth=16 if str(arguments[0]).startswith("I;16") else 8)
    largest = max((value for value in arguments if isinstance(value, int)), default=0)
    return replace(facts, depth=max(8, largest.bit_length()))


def _sgi(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    return replace(facts, depth=8 * max(1, file.read(4)[3]))


def _qoi(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    if file.read(14)[13:] != b"\0":
        raise ValueError("a QOI picture of linear samples")
    return facts


def _tga(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    if image.mode in ("LA", "RGBA") and file.read(18)[17] & 15 not in (1, 8):
        raise ValueError("a fourth channel that is not said to be alpha")
    return facts


def _heif(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    coded = of_heif(file.read())
    if coded.cropped and image.format == "AVIF":  # the plugin of HEIC crops, Pillow does not
        raise ValueError("an AVIF picture that is a part of its samples")
    return _coded(coded, facts)


def _jpeg2000(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    return _coded(of_jpeg2000(file.read()), facts)


def _coded(coded: Coded, facts: Facts) -> Facts:
    if coded.fault is not None:
        raise ValueError(coded.fault)
    if coded.premultiplied:
        raise ValueError("colours that are multiplied by alpha")
    profile = facts.profile or coded.profile
    space = None if profile or coded.code_points is None else by_code_points(*coded.code_points)
    return replace(facts, depth=coded.depth, profile=profile, space=space)


def _jxl(image: Image.Image, file: BinaryIO, facts: Facts) -> Facts:
    head = jxl_head(file.read())
    if head.fault is not None:
        raise ValueError(head.fault)
    if head.depth != 8 and (head.depth, image.mode) != (16, "I;16"):
        raise ValueError(f"JPEG XL of {head.depth} bits a sample, other than grey of 16")
    return replace(facts, depth=head.depth, turned=not getattr(image, "jpeg", False))


def _tiles(image: Image.Image) -> list[tuple[Any, ...]]:
    """What Pillow's decoders will be given, their names first."""
    entries: list[Any] = list(getattr(image, "tile", ()))
    return [(entry[0], *(entry[3] if isinstance(entry[3], tuple) else (entry[3],))) for entry in entries]


READERS: dict[str, Callable[[Image.Image, BinaryIO, Facts], Facts]] = {
    "PNG": _png,
    "TIFF": _tiff,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "BMP": _bmp,
    "DIB": _bmp,
    "PPM": _ppm,
    "SGI": _sgi,
    "QOI": _qoi,
    "TGA": _tga,
    "AVIF": _heif,
    "HEIF": _heif,
    "JPEG2000": _jpeg2000,
    "JXL": _jxl,
}
