"""What the image family tells the parts that all families share."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.export.image.pieces import CONTRACT, LIMITS, SIZE_AXES
from latentwire.export.image.tables import FAMILY
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.wire.packet import Limits


@dataclass(frozen=True)
class Image:
    """One picture uint8 [H, W, C], C 1 or 3, a packet."""

    name: str = FAMILY
    contract: ItemContract = CONTRACT
    size_axes: tuple[int, ...] = SIZE_AXES
    limits: Limits = LIMITS
