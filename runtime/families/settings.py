"""What a user asks of encode, decode and send, as families get it: one object for each kind of work."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentwire.runtime.contract import OutOfRange
from latentwire.runtime.encoder import DEFAULT_BATCH
from latentwire.runtime.wire import DEFAULT_OVERLAP, MAX_PIXELS


@dataclass(frozen=True)
class Reading:
    """How what comes in is read.

    Args:
        raw: values without a header arrive on stdin.
        background: of pictures, the colour behind alpha; None refuses what shows something through.
        depth: of pictures, 8 keeps the upper 8 of 16 bits; None refuses deeper samples.
        columns: of tables, those that are an item's values, by their names or places from 1; all if empty.
    """

    raw: bool = False
    background: str | None = None
    depth: int | None = None
    columns: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the options that were given; none of them is one for every kind of codec."""
        given = {
            "--raw": self.raw,
            "--background": self.background is not None,
            "--depth": self.depth is not None,
            "--columns": bool(self.columns),
        }
        return tuple(name for name, is_given in given.items() if is_given)


@dataclass(frozen=True)
class Encoding:
    """What files become.

    Args:
        quality: 0..255; the codec's default if None.
        max_bytes: take the highest quality whose packets are no longer.
        batch: items in a packet, where the codec takes several.
        bare: a file becomes one packet without a frame.
        tile: of pictures, those with a longer side are cut into tiles of this side; None cuts none.
        overlap: of tiles, in pixels.
        out_of_range: what becomes of an item with a value outside of the contract's range, see `ItemContract.within`.
        reading: how the files are read.
    """

    quality: int | None = None
    max_bytes: int | None = None
    batch: int = DEFAULT_BATCH
    bare: bool = False
    tile: int | None = None
    overlap: int = DEFAULT_OVERLAP
    out_of_range: OutOfRange = "error"
    reading: Reading = field(default_factory=Reading)

    @property
    def asked(self) -> tuple[str, ...]:
        """As `Reading.asked`, of all these."""
        return (*self.reading.asked, *(("--tile",) if self.tile is not None else ()))


@dataclass(frozen=True)
class Decoding:
    """What packets become.

    Args:
        form: format of the results, one of the family's; by the target's suffix if None.
        max_packet: bytes of the longest packet that is accepted; the decoder's own bound if None.
        max_pixels: of pictures, pixels of the largest one that tiles may make.
        bare: one packet without a frame arrives on stdin.
    """

    form: str | None = None
    max_packet: int | None = None
    max_pixels: int = MAX_PIXELS
    bare: bool = False
