"""Image files as pixels, read by Pillow: a picture is what a viewer shows, as 8 bits of sRGB, or it is refused.

- Grey stays grey; palettes and YCbCr become RGB, CMYK by its profile.
- Orientation (EXIF) is applied.
- Colours become sRGB, relative colorimetric: by the profile, or by what else the format has (PNG's cICP, gAMA and
  cHRM, the code points of AVIF and HEIC).
- Alpha that is opaque everywhere is dropped; any other needs a background.
- Samples deeper than 8 bits need a word that 8 are enough. They are scaled by their own depth, colours are converted in
  all their bits, and the upper 8 of 16 are kept. As an item, grey of 16 bits keeps them all.
- Animations and files of several pages are refused. Of a phone's multi-picture JPEG (MPO) the first is taken.
- What cannot be shown for certain is refused: `facts`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, cast

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import InputError, InputLimitError, MissingExtraError, ResourceError, SettingError
from latentwire.runtime.files import deep, pnm
from latentwire.runtime.files.arrays import Source, bad_file
from latentwire.runtime.files.bounded import Bounded
from latentwire.runtime.files.facts import Facts, facts_of, refused, undecided
from latentwire.runtime.files.openers import open_picture
from latentwire.runtime.files.profiles import look_of
from latentwire.runtime.wire import Limits

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class PictureOptions:
    """What may be done to a picture that is not simply grey or RGB of 8 bits.

    Args:
        background: a colour (``white``, ``#204060``) for what shows through; None refuses pictures with alpha.
        depth: 8 keeps the upper 8 bits; None refuses deeper samples.
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
        MissingExtraError: Pillow or a plugin of it is not installed.
        ResourceError: this machine is short of memory.
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
    file = cast(BinaryIO, Bounded(file))
    try:
        with warnings.catch_warnings():
            # Pillow and its plugins warn of pictures that are large, and of tags that are damaged; what is too large
            # or cannot be shown is an error here.
            warnings.simplefilter("ignore")
            with open_picture(file, reader.name, without, reader.check_size) as image:
                return reader.read(image, file)
    except (InputError, SettingError, MissingExtraError):
        raise
    except MemoryError as fault:  # the file is not to blame
        raise ResourceError(f"{reader.name}: expected memory for the picture, found too little") from fault
    except Exception as fault:  # Pillow's plugins raise whatever they run into: struct.error, SyntaxError, KeyError ...
        raise bad_file(reader.name, 0, "an array or an image", str(fault) or type(fault).__name__) from fault


@dataclass(frozen=True)
class _Image:
    """One file on its way to grey or RGB of 8 bits."""

    name: Source
    options: PictureOptions
    advice: ClassVar[str] = "choose what shows through it (--background white)"
    """For pictures with alpha."""

    def read(self, image: Image.Image, file: BinaryIO) -> Array:
        from PIL import ImageOps

        self.check(image)
        if self.options.background is not None:
            colour(self.options.background)  # a wrong word is one for every picture
        facts = facts_of(image, file, self.name)
        largest = pnm.largest_of(image)
        if facts.depth > 8:
            self.check_deep(image, facts)
            if not deep.is_deep(image) and self.needs_all_bits(image, facts):
                return self.deep_colour(deep.split_samples(file, image, facts), facts)
        if largest is not None:
            return self.scaled(pnm.samples_of(file, image, largest), facts)
        image.load()
        if not facts.turned:
            ImageOps.exif_transpose(image, in_place=True)
        if deep.is_deep(image):
            return self.deep_grey(deep.grey(image, facts), facts)
        if image.mode in ("I", "F"):
            raise refused(self.name, "samples of 8 bits", f"mode {image.mode}")
        colours, alpha = split(image)
        return np.asarray(self.flatten(look_of(colours.mode, facts, self.name).image(colours), alpha))

    def check(self, image: Image.Image) -> None:
        """What can be told before any pixel is read."""
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise refused(self.name, "one picture", f"{frames} frames or pages", "send them one by one")
        self.check_size(image.height, image.width)

    def check_size(self, height: int, width: int) -> None:
        """Whether one packet may hold so many pixels."""
        limits = self.options.limits
        if limits is not None and not limits.allow((height, width, 1)):
            raise InputLimitError(
                f"{self.name}: expected a size of {limits.describe()}, found {[height, width]}: "
                "encode it as tiles (--tile 1024)"
            )

    def check_deep(self, image: Image.Image, facts: Facts) -> None:
        """Whether samples of more than 8 bits may be read."""
        if self.options.depth != 8:
            found = f"samples of {facts.depth}"
            raise undecided(self.name, "samples of 8 bits", found, "ask for the upper 8 (--depth 8)")

    def needs_all_bits(self, image: Image.Image, facts: Facts) -> bool:
        """Whether the upper 8 bits, which Pillow reads of colours, are too few to go by.

        Raises:
            InputFileError: they are, and there is no way to the others.
        """
        grey = facts.splits and deep.is_grey(image)
        mixed = facts.splits and (image.mode == "RGBA" or facts.key is not None)
        changed = look_of("L" if grey else "RGB", facts, self.name).changes
        if changed and not facts.splits:
            raise refused(self.name, f"sRGB where {image.format} has {facts.depth} bits", "other colours")
        return mixed or changed

    def scaled(self, samples: Array, facts: Facts) -> Array:
        """Samples uint8 or uint16 [H, W, 1 or 3] that are ready as they are."""
        if samples.dtype == np.uint8:
            return samples[..., 0] if samples.shape[2] == 1 else samples
        return self.deep_grey(samples, facts) if samples.shape[2] == 1 else self.deep_colour(samples, facts)

    def deep_grey(self, samples: Array, facts: Facts) -> Array:
        """Grey of 16 bits, uint16 [H, W, 1]."""
        return self.deep_colour(samples, facts)

    def deep_colour(self, samples: Array, facts: Facts) -> Array:
        """Colours of 16 bits, uint16 [H, W, 1 to 4] with alpha last where there is any."""
        alpha = deep.alpha_of(samples, facts.key)
        colours = samples[..., : 1 if samples.shape[2] < 3 else 3]
        look = look_of("L" if colours.shape[2] == 1 else "RGB", facts, self.name)
        if look.changes:
            colours = look.deep(colours, self.name)
        if alpha is not None:
            behind = self.background()
            simple = colours.shape[2] == 1 and len(set(behind)) == 1
            colours = deep.over(colours, alpha, behind[:1] if simple else behind)
        return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)

    def background(self) -> tuple[int, int, int]:
        """What shows through.

        Raises:
            InputFileError: nobody said.
        """
        if self.options.background is None:
            raise undecided(self.name, "an opaque picture", "alpha", self.advice)
        return colour(self.options.background)

    def flatten(self, colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
        """Without alpha: nothing of the picture is lost, or the background shows through."""
        from PIL import Image

        if alpha is None or alpha.getextrema() == (255, 255):
            return colours
        red, green, blue = self.background()
        if colours.mode == "L" and red == green == blue:
            return Image.composite(colours, Image.new("L", colours.size, red), alpha)
        return Image.composite(colours.convert("RGB"), Image.new("RGB", colours.size, (red, green, blue)), alpha)


class _Item(_Image):
    """One file on its way to an item, whose dtype is part of a contract: samples of 16 bits are not made 8."""

    advice = "make it opaque first"

    def check_deep(self, image: Image.Image, facts: Facts) -> None:
        if not deep.is_deep(image) or facts.key is not None:
            raise refused(self.name, "samples of 8 bits, or opaque grey of 16", f"others of {facts.depth}")

    def deep_grey(self, samples: Array, facts: Facts) -> Array:
        return samples[..., 0]


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(Colours as L, RGB or CMYK, alpha as L or None)."""
    if "transparency" in image.info or image.mode in ("PA", "RGBa", "La"):
        image = image.convert("LA" if image.mode in ("1", "L", "La") else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "LA", "RGBA", "CMYK"):
        image = image.convert("RGB")
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
