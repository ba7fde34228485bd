"""Samples of 16 bits, which Pillow holds for grey alone: it reads colours in their upper halves.

Which half it reads follows from the order of bytes that it is told. So a file is read twice, once in its own order and
once in the other, and the halves are put together.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from latentwire.runtime.contract import Array
from latentwire.runtime.files.facts import FULL, Facts

if TYPE_CHECKING:
    from PIL import Image

_ORDER = re.compile(r"\A(RGB|RGBA|RGBX|RGBa);16([BLN])\Z")
_GREY = "LA;16B"
_STRIP = 1 << 18
"""Pixels that are handled at once."""


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow holds an open picture's samples with more than 8 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def is_grey(image: Image.Image) -> bool:
    """Whether an open picture is grey and alpha of 16 bits, which Pillow reads as RGBA."""
    return _raw_mode(image) == _GREY


def grey(image: Image.Image, facts: Facts) -> Array:
    """Grey of 9 to 16 bits, loaded: uint16 [H, W, 1], 65535 is white."""
    values: Array = np.asarray(image)
    if facts.top != FULL:
        values = (values.astype(np.uint32) * FULL + facts.top // 2) // facts.top
    found: Array = values.astype(np.uint16)[..., None]
    if facts.negative:
        np.subtract(FULL, found, out=found)
    return found


def split_samples(file: BinaryIO, image: Image.Image, facts: Facts) -> Array:
    """Colours of 16 bits, upright: uint16 [H, W, 2 to 4] (grey or RGB, alpha last), alpha not multiplied into colours.

    Args:
        file: what ``image`` was opened from.
        image: not loaded.
        facts: of the file; `splits`.
    """
    raw = _raw_mode(image)
    found: Array
    if raw == _GREY:
        halves = _pass(file, image, "RGBA")
        found = np.ascontiguousarray(halves).view(">u2").astype(np.uint16)
    else:
        match = _ORDER.match(raw)
        if match is None:
            raise ValueError(f"samples of 16 bits laid out as {raw}")
        layout, order = match.groups()
        order = order if order != "N" else ("L" if sys.byteorder == "little" else "B")
        upper = _pass(file, image, f"{layout.upper()};16{order}")
        found = upper.astype(np.uint16) << 8
        del upper
        found |= _pass(file, image, f"{layout.upper()};16{'B' if order == 'L' else 'L'}")
    return straight(found) if facts.premultiplied else found


def straight(samples: Array) -> Array:
    """Colours divided by alpha, in place: uint16 [H, W, C], alpha last."""
    step = max(1, _STRIP // samples.shape[1])
    for top in range(0, len(samples), step):
        part = samples[top : top + step]
        alpha = np.maximum(part[..., -1:].astype(np.uint64), 1)
        part[..., :-1] = np.minimum((part[..., :-1] * np.uint64(FULL) + alpha // 2) // alpha, FULL)
    return samples


def alpha_of(samples: Array, key: tuple[int, ...] | None) -> Array | None:
    """Alpha uint16 [H, W] of samples uint16 [H, W, C], by a last channel or a transparent colour; None if opaque."""
    if key is not None:
        alpha = np.where((samples == np.array(key)).all(-1), 0, FULL).astype(np.uint16)
    elif samples.shape[2] % 2 == 0:
        alpha = samples[..., -1]
    else:
        return None
    return None if alpha.min() >> 8 == 255 else alpha


def over(colours: Array, alpha: Array, background: tuple[int, ...]) -> Array:
    """Colours uint8 or uint16 [H, W, 1 or 3] with the background behind them: uint8, as many channels as that has.

    Args:
        colours: not multiplied by alpha.
        alpha: uint16 [H, W].
        background: one or three numbers of 8 bits.
    """
    behind, unit = np.array(background, np.float32), np.float32(np.iinfo(colours.dtype).max // 255)
    found = np.empty((*alpha.shape, len(background)), np.uint8)
    step = max(1, _STRIP // alpha.shape[1])
    for top in range(0, len(found), step):
        rows = slice(top, top + step)
        share = alpha[rows, :, None].astype(np.float32) / FULL
        found[rows] = np.rint(colours[rows] / unit * share + behind * (1 - share))
    return found


def _raw_mode(image: Image.Image) -> str:
    arguments: Any = image.tile[0][3]  # type: ignore[attr-defined]  # of every picture that is open
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _pass(file: BinaryIO, image: Image.Image, raw: str) -> Array:
    """The picture read as if its samples were laid out in that way, upright: uint8 [H, W, C]."""
    from PIL import Image, ImageOps

    file.seek(0)
    with Image.open(file, formats=[str(image.format)]) as again:
        again.tile = [_told(entry, raw) for entry in again.tile]
        again.load()
        ImageOps.exif_transpose(again, in_place=True)
        return np.asarray(again)


def _told(entry: Any, raw: str) -> Any:
    arguments = (raw, *entry[3][1:]) if isinstance(entry[3], tuple) else raw
    return entry._replace(args=arguments) if hasattr(entry, "_replace") else (*entry[:3], arguments)
