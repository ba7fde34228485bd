"""Colours as sRGB: by the arithmetic of `colours` where that is enough, by LittleCMS where a profile is made of tables.

A profile that does not fit the pixels or cannot be read is ignored, as browsers do. One that changes pixels of 8 bits
by no more than a step of rounding is sRGB, whatever it is called: they stay as they are.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.files.arrays import Source
from latentwire.runtime.files.colours import Space, by_profile, high_dynamic_range
from latentwire.runtime.files.facts import Facts, refused

if TYPE_CHECKING:
    from PIL import Image

_COLOURS = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
"""What ICC calls the colours of Pillow's modes."""


@dataclass(frozen=True)
class Look:
    """How the colours of a file become sRGB.

    Attributes:
        space: what the samples mean; None where there is a transform, or nothing to change.
        transform: LittleCMS', of samples of 8 bits.
    """

    space: Space | None = None
    transform: Any = None

    @property
    def changes(self) -> bool:
        """Whether anything has to be converted."""
        return self.transform is not None or self.space is not None

    def image(self, colours: Image.Image) -> Image.Image:
        """L, RGB or CMYK of 8 bits as L or RGB in sRGB."""
        from PIL import Image, ImageCms

        if self.transform is not None:
            found: Any = ImageCms.applyTransform(colours, self.transform)
            grey: Image.Image = found.getchannel("G") if colours.mode == "L" else found
            return grey
        if self.space is None:
            return colours
        pixels = np.asarray(colours)
        converted = self.space.to_srgb(pixels.reshape(*pixels.shape[:2], -1))
        return Image.fromarray(converted[..., 0] if pixels.ndim == 2 else converted)

    def deep(self, samples: Array, name: Source) -> Array:
        """uint16 [H, W, 1 or 3] as uint8 of the same shape, in sRGB, where anything changes.

        Raises:
            InputFileError: a profile that only LittleCMS can apply, which would take samples of 8 bits.
        """
        if self.space is None:
            raise refused(name, "a profile of curves and a matrix", "one of tables, and samples of 16 bits")
        return self.space.to_srgb(samples)


def look_of(mode: str, facts: Facts, name: Source) -> Look:
    """How colours of a mode (L, RGB, CMYK) become sRGB.

    Raises:
        InputFileError: CMYK without a profile, high dynamic range, or a Pillow without LittleCMS.
    """
    found = None if facts.profile is None else by_icc(mode, facts.profile, name)
    if found is None and mode == "CMYK":
        raise refused(name, "CMYK with a profile that says how its inks look", "none of use", "convert it to sRGB")
    found = found or Look(facts.space)
    return Look() if found.space is not None and facts.depth == 8 and found.space.is_srgb() else found


def by_icc(mode: str, profile: bytes, name: Source) -> Look | None:
    """What a profile says; None where it does not fit or is damaged.

    Raises:
        InputFileError: high dynamic range, or a Pillow without LittleCMS.
    """
    if profile[16:20] != _COLOURS[mode]:
        return None
    if high_dynamic_range(profile):
        raise refused(name, "a picture whose colours are certain", "high dynamic range (PQ or HLG)")
    try:
        space = by_profile(profile)
    except ValueError:
        return None
    if space is not None:
        return Look(space)
    transform = transform_of(mode, profile, name)
    return None if transform is None else Look(transform=transform)


def transform_of(mode: str, profile: bytes, name: Source) -> Any:
    """LittleCMS' transform to sRGB, relative colorimetric; None where the profile is damaged.

    Raises:
        InputFileError: Pillow was built without LittleCMS.
    """
    try:
        from PIL import ImageCms

        known, intent = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.Intent.RELATIVE_COLORIMETRIC
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(known, target, mode, "RGB", renderingIntent=intent)
    except ImportError as fault:
        raise refused(name, "sRGB", "a colour profile, and a Pillow without LittleCMS") from fault
    except (OSError, ImageCms.PyCMSError):
        return None
