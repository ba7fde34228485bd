"""The head of a JPEG XL file (ISO/IEC 18181-1, annex D): its plugin decodes all before it tells the size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentwire.runtime.files.boxes import boxes

STREAM, BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_PARTS = (b"jxlc", b"jxlp")
_ENOUGH = 256
"""Bytes of a codestream that hold all that is read here."""


def is_jxl(head: bytes) -> bool:
    """Whether this is JPEG XL, bare or in boxes."""
    return head.startswith((STREAM, BOXES))


@dataclass(frozen=True)
class JxlHead:
    """What a codestream says of its picture.

    Attributes:
        size: height and width.
        depth: bits of a sample.
        fault: what there is that the plugin does not show as it should.
    """

    size: tuple[int, int]
    depth: int = 8
    fault: str | None = None


class _Bits:
    """Numbers in a codestream, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("a JPEG XL stream that ends in its head")
        found = self._value & ((1 << count) - 1)
        self._value, self._left = self._value >> count, self._left - count
        return found

    def choose(self, *kinds: tuple[int, int]) -> int:
        """One of four: bits to read, and what to add to them."""
        bits, offset = kinds[self.take(2)]
        return self.take(bits) + offset


def jxl_head(data: bytes) -> JxlHead:
    """What the file says of its picture.

    Raises:
        ValueError: it ends before that.
    """
    stream = data
    if data.startswith(BOXES):
        parts = [content if name == b"jxlc" else content[4:] for name, content in boxes(data) if name in _PARTS]
        stream = parts[0] if parts else b""
    if not stream.startswith(STREAM):
        raise ValueError("a JPEG XL file without a stream")
    bits = _Bits(stream[2:_ENOUGH])
    size = _size(bits)
    if bits.take(1):
        return JxlHead(size)
    if bits.take(1):
        size = size if bits.take(3) < 4 else size[::-1]
        if bits.take(1):
            _size(bits)
        if bits.take(2):  # preview, animation
            return JxlHead(size, fault="an animation or a preview")
    floats = bits.take(1)
    if floats:
        return JxlHead(size, fault="floating-point samples")
    depth = bits.choose((0, 8), (0, 10), (0, 12), (6, 1))
    bits.take(1)
    return JxlHead(size, depth, _alpha_fault(bits))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose((9, 1), (13, 1), (18, 1), (30, 1))

    height, ratio = side(), bits.take(3)
    if not ratio:
        return height, side()
    across, down = _RATIOS[ratio]
    return height, math.floor(height * across / down)


def _alpha_fault(bits: _Bits) -> str | None:
    """Of the channels beside colour only one is known: alpha, not multiplied into the colours."""
    count = bits.choose((0, 0), (0, 1), (4, 2), (12, 1))
    if count > 1:
        return "more channels than colour and alpha"
    if count == 0 or bits.take(1):
        return None
    kind = bits.choose((0, 0), (0, 1), (4, 2), (6, 18))
    if kind != 0:
        return "a channel of another meaning than colour and alpha"
    if bits.take(1):
        return "alpha of floating-point numbers"
    bits.choose((0, 8), (0, 10), (0, 12), (6, 1))
    bits.choose((0, 0), (0, 3), (0, 4), (3, 1))
    length = bits.choose((0, 0), (4, 0), (5, 16), (10, 48))
    bits.take(8 * length)
    return "colours that are multiplied by alpha" if bits.take(1) else None
