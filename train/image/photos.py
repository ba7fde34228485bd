"""Pictures to train on: a folder's, in memory as bytes, and random crops of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentwire.runtime.errors import InputFileError
from latentwire.runtime.files import PictureOptions, each_picture

PLAIN = PictureOptions()
"""A picture with alpha or of 16 bits is refused."""
ASKED = ("background", "depth")
"""What may be done to pictures that are not simply grey or RGB of 8 bits, as run.json has it where it was asked for."""

HELD_BACK = 20
"""Every 20th picture is held back where no other pictures are there to judge on."""


@dataclass(frozen=True)
class Material:
    """A run's pictures, uint8 [3, H, W] each: to train on, and whole ones to judge on."""

    train: list[Tensor]
    held: list[Tensor]
    bad: tuple[InputFileError, ...] = ()
    """Why files were left out."""

    def digest(self) -> str:
        """SHA-256 over all sizes and pixels, in order."""
        found = hashlib.sha256()
        for photo in (*self.train, *self.held):
            found.update(repr(tuple(photo.shape)).encode())
            found.update(photo.numpy().tobytes())
        return found.hexdigest()


def read_material(data: Path, validation: Path | None, options: PictureOptions = PLAIN) -> Material:
    """The pictures below ``data``, and those below ``validation``; every 20th of ``data`` is held back if that is None.

    A single picture is for both. Files that are damaged are left out, as if they were not there.

    Raises:
        InputFileError: a folder has no pictures, more that cannot be read than others, or one that an option would let
            in.
        SettingError: see `read_photos`.
    """
    bad: list[InputFileError] = []
    photos = read_photos(data, options, bad)
    if validation is not None:
        also: list[InputFileError] = []
        return Material(photos, read_photos(validation, options, also), (*bad, *also))
    kept = [photo for at, photo in enumerate(photos) if at % HELD_BACK] or photos
    return Material(kept, photos[::HELD_BACK], tuple(bad))


def read_photos(source: Path, options: PictureOptions = PLAIN, bad: list[InputFileError] | None = None) -> list[Tensor]:
    """A picture, or all pictures below a folder in order of their paths: uint8 [3, H, W] each.

    They are read as for encoding (`latentwire.runtime.files`); grey ones become three equal channels. With ``bad``,
    files that cannot be read are left out and their errors put there.

    Raises:
        InputFileError: there are none, or one cannot be read or not without losing something; names it.
        SettingError: ``options`` name an unknown colour.
    """
    pictures = each_picture(source, options, bad)
    return [torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C")) for picture in pictures]


def options_of(source: Mapping[str, Any]) -> PictureOptions:
    """How a run reads its pictures: of `data` in run.json, which says nothing of it unless something was asked for."""
    return PictureOptions(**{name: source.get(name) for name in ASKED})


def scaled_copies(photos: Sequence[Tensor], scales: Sequence[float]) -> list[Tensor]:
    """Every picture at every scale; smaller copies lose the traces of earlier compression."""
    return [photo if scale == 1 else _scaled(photo, scale) for scale in scales for photo in photos]


def _scaled(photo: Tensor, scale: float) -> Tensor:
    size = [max(1, round(length * scale)) for length in photo.shape[1:]]
    resized = F.interpolate(photo[None].float(), size=size, mode="bicubic", antialias=True)
    return resized[0].clamp(0, 255).round().byte()


class Crops:
    """Random, randomly mirrored crops of pictures that stay on one device as bytes."""

    def __init__(self, photos: Sequence[Tensor], side: int, device: torch.device) -> None:
        """Takes pictures uint8 [3, H, W]; those smaller than a crop are left out.

        Raises:
            InputFileError: none is large enough.
        """
        self.photos = [photo.to(device) for photo in photos if min(photo.shape[1:]) >= side]
        self.left_out = len(photos) - len(self.photos)
        self.side = side
        if not self.photos:
            raise InputFileError(f"expected pictures of at least {side} x {side}, found {len(photos)} smaller ones")

    def draw(self, count: int, generator: Generator) -> Tensor:
        """float32 [count, 3, side, side] in [-0.5, 0.5], channels last."""
        batch = []
        for _ in range(count):
            which, top, left, mirrored = torch.randint(0, 1 << 40, (4,), generator=generator).tolist()
            photo = self.photos[which % len(self.photos)]
            y, x = (
                place % (length - self.side + 1) for place, length in zip((top, left), photo.shape[1:], strict=True)
            )
            crop = photo[:, y : y + self.side, x : x + self.side]
            batch.append(crop.flip(2) if mirrored % 2 else crop)
        return (torch.stack(batch).float() / 255 - 0.5).contiguous(memory_format=torch.channels_last)
