"""Image files as pixels, read by Pillow: nothing that a viewer would show is dropped or changed in silence.

- Grey stays grey; palettes, CMYK, YCbCr, Lab and HSV become RGB (CMYK by its profile, or else Pillow's formula).
- Orientation (EXIF) is applied.
- A colour profile other than sRGB is converted to sRGB (relative colorimetric); one that does not fit the pixels or
  cannot be read is ignored, as browsers do, and so is that of a grey picture.
- Alpha that is opaque everywhere is dropped; any other needs a background.
- Samples of 16 bits need a word that 8 are enough; their upper 8 are kept. As an item, grey of 16 bits stays as it is.
- Animations and files of several pages are refused. Of a phone's multi-picture JPEG (MPO) the first is taken.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputError, InputFileError, InputLimitError, MissingExtraError, SettingError
from latentwire.runtime.files.arrays import Source, bad_file
from latentwire.runtime.wire import Limits

if TYPE_CHECKING:
    from PIL import Image

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


PLAIN = PictureOptions()
"""Nothing may be done to it."""


def pixels_from(file: BinaryIO, name: Source, options: PictureOptions) -> Array:
    """An open image that can seek: uint8 [H, W] (grey) or [H, W, 3].

    Raises:
        InputFileError: this is no image that Pillow reads, or it cannot be read without losing something.
        InputLimitError: it has more pixels than one packet may hold.
        MissingExtraError: Pillow is not installed.
        SettingError: an unknown colour.
    """
    return _read(file, _Image(name, options), ".npy, .ppm or .pgm")


def image_from(file: BinaryIO, name: Source) -> Array:
    """An open image that can seek, as an item: uint8 or uint16 [H, W] (grey), or uint8 [H, W, 3].

    Raises:
        InputFileError: this is no image that Pillow reads, or it cannot be read without losing something.
        MissingExtraError: Pillow is not installed.
    """
    return _read(file, _Item(name, PLAIN), ".npy, .npz or IDX")


def _read(file: BinaryIO, reader: _Image, without: str) -> Array:
    try:
        from PIL import Image
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"{reader.name}: expected {without}, found another kind of file; others need the image extra: "
            "pip install 'latentwire[image]'"
        ) from fault
    try:
        with warnings.catch_warnings():
            # Pillow warns of pictures that are large; the limits here decide. What it takes for a bomb is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return reader.read(image)
    except (InputError, SettingError, MissingExtraError):
        raise
    except Exception as fault:  # Pillow's plugins raise whatever they run into: struct.error, SyntaxError, KeyError ...
        raise bad_file(reader.name, 0, "an array or an image", str(fault) or type(fault).__name__) from fault


@dataclass(frozen=True)
class _Image:
    """One file on its way to grey or RGB of 8 bits."""

    name: Source
    options: PictureOptions
    advice: ClassVar[str] = "choose what shows through it (--background white)"
    """For pictures with alpha."""

    def read(self, image: Image.Image) -> Array:
        from PIL import ImageOps

        self.check(image)
        if self.options.background is not None:
            colour(self.options.background)  # a wrong word is one for every picture
        profile, deep = image.info.get("icc_profile"), is_deep(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if deep and image.mode.startswith("I"):
            return self.deep_grey(image)
        if image.mode in ("I", "F"):
            raise self.fault("samples of 8 bits", f"mode {image.mode}", "convert it first")
        colours, alpha = split(image)
        return np.asarray(self.flatten(self.to_srgb(colours, profile), alpha))

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
        if is_deep(image):
            self.check_deep(image)

    def check_deep(self, image: Image.Image) -> None:
        """Whether samples of 16 bits may be read."""
        if self.options.depth != 8:
            raise self.fault("samples of 8 bits", "samples of 16", "ask for the upper 8 (--depth 8)")
        if image.mode.startswith("I") and "transparency" in image.info:
            raise self.fault("an opaque picture", "a transparent grey of 16 bits", "convert it first")

    def deep_grey(self, image: Image.Image) -> Array:
        """Grey of 16 bits, loaded."""
        return (np.asarray(image).astype(np.int32) >> 8).astype(np.uint8)

    def fault(self, expected: str, found: str, advice: str) -> InputFileError:
        return InputFileError(f"{self.name}: expected {expected}, found {found}: {advice}")

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
            raise self.fault("an opaque picture", "alpha", self.advice)
        red, green, blue = colour(self.options.background)
        if colours.mode == "L" and red == green == blue:
            return Image.composite(colours, Image.new("L", colours.size, red), alpha)
        return Image.composite(colours.convert("RGB"), Image.new("RGB", colours.size, (red, green, blue)), alpha)


class _Item(_Image):
    """One file on its way to an item, whose dtype is part of a contract: samples of 16 bits are not made 8."""

    advice = "make it opaque first"

    def check_deep(self, image: Image.Image) -> None:
        if not image.mode.startswith("I") or "transparency" in image.info:
            raise self.fault("samples of 8 bits, or opaque grey of 16", "others of 16", "convert it first")

    def deep_grey(self, image: Image.Image) -> Array:
        return np.asarray(image).astype(np.uint16)


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
