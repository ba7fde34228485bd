"""Which kinds of picture files are opened, and by whom: Pillow, or a plugin of it that is an extra.

Only kinds whose every form is known here: each is either shown as it should look or refused by `facts`. What else
Pillow can open is refused by name. PostScript, for one, would be run as the program that it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from latentwire.runtime.errors import InputFileError, MissingExtraError
from latentwire.runtime.files import tiff
from latentwire.runtime.files.arrays import Source, bad_file
from latentwire.runtime.files.boxes import HEIF_BRANDS, brands
from latentwire.runtime.files.jxl import is_jxl, jxl_head
from latentwire.runtime.files.kinds import picture_kind

if TYPE_CHECKING:
    from PIL import Image

# The order matters where the first bytes fit two: HEIF before AVIF, which takes any still picture in such boxes;
# Targa, which has no first bytes of its own, last.
FORMATS = [
    "PNG",
    "JPEG",
    "MPO",
    "WEBP",
    "GIF",
    "TIFF",
    "PPM",
    "BMP",
    "DIB",
    "ICO",
    "JPEG2000",
    "HEIF",
    "JXL",
    "AVIF",
    "QOI",
    "PCX",
    "SGI",
    "TGA",
]
"""By the names that Pillow gives them."""
HEAD = 64


@dataclass(frozen=True)
class _Plugin:
    """A library that teaches Pillow a format."""

    kind: str
    package: str
    accepts: Callable[[bytes], bool]
    register: Callable[[], None]


def _heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _jxl() -> None:
    import pillow_jxl  # noqa: F401  # registers itself


PLUGINS = (
    _Plugin("HEIC", "pillow-heif", lambda head: bool(brands(head) & HEIF_BRANDS), _heif),
    _Plugin("JPEG XL", "pillow-jxl-plugin", is_jxl, _jxl),
)


def open_picture(file: BinaryIO, name: Source, without: str, check_size: Callable[[int, int], None]) -> Image.Image:
    """The picture in an open file that can seek; its pixels are not read yet.

    Args:
        file: stands at its begin.
        name: of the file.
        without: what can be read without Pillow, for the message.
        check_size: of a height and a width; raises where they are too large.

    Raises:
        InputFileError: it is none, or none of a kind that is opened here.
        MissingExtraError: Pillow or its plugin is not installed.
    """
    head = file.read(HEAD)
    file.seek(0)
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"{name}: expected {without}, found another kind of file; others need the image extra: "
            "pip install 'latentwire[image]'"
        ) from fault
    for plugin in PLUGINS:
        if plugin.accepts(head):
            _register(plugin, name)
    if is_jxl(head):
        _check_jxl(file, check_size)
    Image.init()
    try:
        return Image.open(file, formats=[form for form in FORMATS if form in Image.OPEN])
    except UnidentifiedImageError as fault:
        raise unknown(file, head, name) from fault


def _check_jxl(file: BinaryIO, check_size: Callable[[int, int], None]) -> None:
    """Whether a picture is small enough for a plugin that decodes it before it can be asked."""
    from PIL import Image

    height, width = jxl_head(file.read()).size
    file.seek(0)
    check_size(height, width)
    if Image.MAX_IMAGE_PIXELS is not None and height * width > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{height} x {width} pixels could be a decompression bomb")


def _register(plugin: _Plugin, name: Source) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what such libraries say while they are imported, nothing is for users
            plugin.register()
    except ImportError as fault:
        raise MissingExtraError(
            f"{name}: expected a picture that Pillow reads by itself, found {plugin.kind}, which needs "
            f"{plugin.package}: pip install 'latentwire[formats]'"
        ) from fault


def unknown(file: BinaryIO, head: bytes, name: Source) -> InputFileError:
    """The error of a file that nothing opened: with the name of its kind, if that is known."""
    from PIL import Image

    if head.startswith(tiff.MAGIC):
        return bad_file(name, 0, "a picture that can be read", tiff.reason(file))
    kind = picture_kind(head)
    if kind is not None:
        return bad_file(name, 0, "a picture that can be read", f"{kind} that is damaged or of an uncommon kind")
    for form, (_, accept) in Image.OPEN.items():
        if form not in FORMATS and accept is not None and accept(head) is True:
            return bad_file(name, 0, "an array or an image", f"{form}, which is not read here: convert it to PNG")
    return bad_file(name, 0, "an array or an image", "neither")
