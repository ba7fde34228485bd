"""Files as pictures uint8 [H, W, C], C 1 or 3: nothing that a viewer would show is dropped or changed in silence.

- Grey stays grey; palettes, CMYK, YCbCr, Lab and HSV become RGB (CMYK by its profile, or else Pillow's formula).
- Orientation (EXIF) is applied.
- A colour profile other than sRGB is converted to sRGB (relative colorimetric); one that does not fit the pixels or
  cannot be read is ignored, as browsers do, and so is that of a grey picture.
- Alpha that is opaque everywhere is dropped; any other needs a background.
- Samples of 16 bits need a word that 8 are enough; their upper 8 are kept.
- Animations and files of several pages are refused. Of a phone's multi-picture JPEG (MPO) the first is taken.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import (
    InputError,
    InputFileError,
    InputLimitError,
    MissingExtraError,
    SettingError,
)
from latentwire.runtime.files.arrays import GZIP_MAGIC, IDX_MAGIC, NPY_MAGIC, ZIP_MAGIC, bad_file, items_from
from latentwire.runtime.wire.packet import Limits

if TYPE_CHECKING:
    from PIL import Image

RAW_SUFFIXES = (".raw", ".bin")
_PLAIN_PNM = re.compile(rb"\AP([56])\s+(\d{1,10})\s+(\d{1,10})\s+255\s")
_DEEP = re.compile(r"^I;16|;16[BLN]$")
"""Pillow's names of samples of 16 bits: as a mode, and in a file that Pillow itself reduces to 8."""


@dataclass(frozen=True)
class PictureOptions:
    """What may be done to a picture that is not simply grey or RGB of 8 bits.

    Args:
        background: a colour (``white``, ``#204060``) for what shows through; None refuses pictures with alpha.
        depth: 8 keeps the upper 8 of 16 bits; None refuses deeper samples.
        limits: of a packet, checked before a file's pixels are read; None where it is cut into tiles.
    """

    background: str | None = None
    depth: int | None = None
    limits: Limits | None = None


def load_picture(path: Path, options: PictureOptions) -> Array:
    """The picture in a file: .npy and plain .ppm and .pgm are mapped, not read; all others by Pillow.

    Raises:
        InputFileError: the file cannot be read as a picture, or not without losing something.
        InputLimitError: it has more pixels than one packet may hold.
        MissingExtraError: it needs Pillow, which is not installed.
        SettingError: an unknown colour.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        raise InputFileError(f"{path}: expected a picture, found values without a size: use .npy or an image file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(0)
            mapped = _mapped(path, head)
            return mapped if mapped is not None else picture_from(file, str(path), options)
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault


def _mapped(path: Path, head: bytes) -> Array | None:
    """An array whose bytes stay in the file until they are needed; None for other kinds of files."""
    try:
        if head.startswith(NPY_MAGIC):
            array: Array = np.lib.format.open_memmap(path, mode="r")
            return array
        plain = _PLAIN_PNM.match(head)
        if plain is None:
            return None
        kind, width, height = (int(group) for group in plain.groups())
        shape = (height, width, 1 if kind == 5 else 3)
        return np.memmap(path, np.uint8, "r", offset=plain.end(), shape=shape)
    except (ValueError, OverflowError) as fault:  # numpy says so where the file is shorter than its header tells
        raise bad_file(path, 0, "a whole picture", str(fault)) from fault


def picture_from(file: BinaryIO, name: str, options: PictureOptions) -> Array:
    """Like `load_picture`, from an open file that can seek.

    Raises:
        InputError: see `load_picture`.
        MissingExtraError: see `load_picture`.
        SettingError: see `load_picture`.
    """
    head = file.read(len(NPY_MAGIC))
    file.seek(0)
    if head.startswith((NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC)) or (head.startswith(IDX_MAGIC) and head[3:4] != b"\0"):
        return items_from(file, name)  # an icon or a Targa file can begin like IDX, but without a dimension
    try:
        from PIL import Image
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"{name}: expected .npy, .ppm or .pgm, found another kind of file; others need the image extra: "
            "pip install 'latentwire[image]'"
        ) from fault
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures that are large; the limits here decide. What it takes for a bomb is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _pixels(_Picture(name, options).read(image))
    except (InputError, SettingError, MissingExtraError):
        raise
    except Exception as fault:  # Pillow's plugins raise whatever they run into: struct.error, SyntaxError, KeyError ...
        raise bad_file(name, 0, "an array or an image", str(fault) or type(fault).__name__) from fault


def _pixels(image: Image.Image) -> Array:
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@dataclass(frozen=True)
class _Picture:
    """One file on its way to grey or RGB of 8 bits."""

    name: str
    options: PictureOptions

    def read(self, image: Image.Image) -> Image.Image:
        from PIL import ImageOps

        self.check(image)
        if self.options.background is not None:
            colour(self.options.background)  # a wrong word is one for every picture
        profile, deep = image.info.get("icc_profile"), is_deep(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if deep and image.mode.startswith("I"):
            image = self.upper_bits(image)
        if image.mode in ("I", "F"):
            raise self.fault("samples of 8 bits", f"mode {image.mode}", "convert it first")
        colours, alpha = split(image)
        return self.flatten(self.to_srgb(colours, profile), alpha)

    def check(self, image: Image.Image) -> None:
        """What can be told before any pixel is read."""
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise self.fault("one picture", f"{frames} frames or pages", "send them one by one")
        limits = self.options.limits
        if limits is not None and not limits.allow((image.height, image.width, 1)):
            raise InputLimitError(
                f"{self.name}: expected a size of {limits.describe()}, found {[image.height, image.width]}: "
                "encode it as tiles (--tile 1024)"
            )
        if is_deep(image) and self.options.depth != 8:
            raise self.fault("samples of 8 bits", "samples of 16", "ask for the upper 8 (--depth 8)")

    def fault(self, expected: str, found: str, advice: str) -> InputFileError:
        return InputFileError(f"{self.name}: expected {expected}, found {found}: {advice}")

    def upper_bits(self, image: Image.Image) -> Image.Image:
        from PIL import Image

        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).astype(np.uint8))

    def to_srgb(self, colours: Image.Image, profile: bytes | None) -> Image.Image:
        """L as it is; everything else as RGB, in sRGB."""
        if colours.mode == "L":
            return colours
        converted = self.by_profile(colours, profile) if profile and colours.mode in ("RGB", "CMYK") else None
        return converted or (colours if colours.mode == "RGB" else colours.convert("RGB"))

    def by_profile(self, colours: Image.Image, profile: bytes) -> Image.Image | None:
        """Converted to sRGB; None where it is sRGB already or the profile is of no use."""
        try:
            from PIL import ImageCms

            known: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        except ImportError as fault:
            raise self.fault("sRGB", "a colour profile, and a Pillow without LittleCMS", "convert it first") from fault
        except (OSError, ImageCms.PyCMSError):
            return None
        if known.profile.xcolor_space.strip() != colours.mode or "sRGB" in (known.profile.profile_description or ""):
            return None
        try:
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            target = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(colours, known, target, renderingIntent=intent, outputMode="RGB")
        except ImageCms.PyCMSError:
            return None

    def flatten(self, colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
        """Without alpha: nothing of the picture is lost, or the background shows through."""
        from PIL import Image

        if alpha is None or alpha.getextrema() == (255, 255):
            return colours
        if self.options.background is None:
            raise self.fault("an opaque picture", "alpha", "choose what shows through it (--background white)")
        red, green, blue = colour(self.options.background)
        if colours.mode == "L" and red == green == blue:
            return Image.composite(colours, Image.new("L", colours.size, red), alpha)
        return Image.composite(colours.convert("RGB"), Image.new("RGB", colours.size, (red, green, blue)), alpha)


def is_deep(image: Image.Image) -> bool:
    """Whether the file's samples have 16 bits, also where Pillow would reduce them to 8 by itself."""
    if _DEEP.search(image.mode):
        return True
    for entry in getattr(image, "tile", ()):
        arguments = entry[3] if isinstance(entry[3], tuple) else (entry[3],)
        if any(isinstance(value, str) and _DEEP.search(value) for value in arguments):
            return True
        # The reader of .ppm and .pgm is given the largest sample.
        if entry[0].startswith("ppm") and any(isinstance(value, int) and value > 255 for value in arguments):
            return True
    return False


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(Colours as L, RGB, CMYK or another mode without alpha, alpha as L or None)."""
    if "transparency" in image.info or image.mode in ("PA", "RGBa", "La"):
        image = image.convert("LA" if image.mode in ("1", "L", "La") else "RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("LA", "RGBA"):
        return image, None
    return image.convert(image.mode[:-1]), image.getchannel("A")


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name or #rrggbb.

    Raises:
        SettingError: there is no such colour.
    """
    from PIL import ImageColor

    try:
        values = ImageColor.getrgb(text)
    except ValueError as fault:
        raise SettingError(f"expected a colour such as white or #204060, found {text!r}") from fault
    return values[0], values[1], values[2]
