"""What all families of pictures have alike: one picture uint8 [H, W, C] of any size a packet."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentwire.export.static import Shapes, check_limits
from latentwire.export.verify import Items, Verifier
from latentwire.runtime.bundle import Identity
from latentwire.runtime.contract import Array, ItemContract
from latentwire.runtime.errors import SettingError
from latentwire.runtime.files import read_pictures
from latentwire.runtime.wire import Limits

CONTRACT = ItemContract("uint8", ("height", "width", (1, 3)), (0, 255))
SIZE_AXES = (0, 1, 2)
MAX_SIDE = (1 << 16) - 1
MAX_PIXELS = 1 << 25
LIMITS = Limits((MAX_SIDE, MAX_SIDE, (1, 3)), area=3 * MAX_PIXELS)
"""One packet holds at most 33 megapixels; larger pictures go as tiles."""
SHAPE: Sequence[int | str] = ("height", "width", "channels")
PICTURE = "picture"
"""The tensor between the network and what stands before or behind it."""


@dataclass(frozen=True)
class OnePictureForm:
    """What one size means; the part of a `StaticForm` that does not depend on what stands around the network."""

    option: str = "--size HEIGHTxWIDTH"

    def fixes(self, shapes: Shapes) -> bool:
        """By their size."""
        return shapes.size is not None

    def input_shape(self, shapes: Shapes, identity: Identity) -> tuple[int, ...] | None:
        """[H, W, 3]: static ones are in colour."""
        if shapes.batch not in (None, 1):
            raise SettingError(f"expected batch 1 for pictures, one of which is a packet, found {shapes.batch}")
        if shapes.size is None:
            return None
        shape = (*shapes.size, 3)
        check_limits(shape, identity)
        return shape

    def inputs(self, items: Items, shape: Sequence[int]) -> list[Array]:
        """Each picture."""
        return list(items)


class OnePictureVerifier(Verifier, ABC):
    """What is checked on: pictures, one in a packet."""

    compared = Verifier.qualities

    def check_items(self) -> None:
        """Each picture."""
        for picture in self.items:
            self.subject.manifest.input.validate(picture)

    def packets(self) -> Sequence[Array]:
        """A picture each."""
        return list(self.items)

    def samples(self) -> Sequence[Array]:
        """One in colour, and a small grey one whose sides are no multiples of anything."""
        return [self.items[0], np.ascontiguousarray(self.items[0][:70, :45, 1:2])]


class OnePictureFamily:
    """How pictures are read and chosen; the part of an `ExportFamily` that does not depend on the codec."""

    def read_items(self, path: Path, contract: ItemContract) -> list[Array]:
        """A picture, or all below a folder."""
        return read_pictures(path)

    def some(self, items: Items, count: int) -> list[Array]:
        """Evenly spaced ones."""
        return spread(list(items), count)

    def golden_items(self, golden: Array) -> list[Array]:
        """One picture."""
        return [golden]


def spread(pictures: Sequence[Array], count: int) -> list[Array]:
    """At most ``count`` of them, evenly spaced."""
    places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return [pictures[place] for place in places]
