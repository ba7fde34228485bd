"""Packets whose headers say anything, with a checksum that fits: what only a hostile peer writes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hypothesis import strategies as st

WIDTHS = (1, 2, 4, 8)
LENGTHS = st.sampled_from([0, 1, 2, 3, 16, 63, 64, 65, 255, 256, 400, 4096, 16384, 65535, 65536, 2**31, 2**32 - 1])


@dataclass(frozen=True)
class Claim:
    """A header as it is drawn, and a body.

    Attributes:
        head: magic, packet version, codec id.
        quality: 0..255.
        layout: any byte.
        size: as many as the layout byte says.
        off: how much the length that is told is longer than the packet.
        body: lane states, words, escapes.
    """

    head: bytes
    quality: int
    layout: int
    size: tuple[int, ...]
    off: int
    body: bytes


def packet_of(claim: Claim) -> bytes:
    """Its bytes; numbers are cut off at the width that the layout byte says."""
    width = WIDTHS[claim.layout >> 4 & 3]
    start = len(claim.head) + 2 + width * (len(claim.size) + 1)
    numbers = (*claim.size, start + len(claim.body) + 4 + claim.off)
    fields = b"".join((number % 256**width).to_bytes(width, "little") for number in numbers)
    unsigned = claim.head + bytes([claim.quality, claim.layout]) + fields + claim.body
    return unsigned + zlib.adler32(unsigned).to_bytes(4, "little")


@st.composite
def any_header(draw: st.DrawFn, codec_id: bytes, body: bytes, dimensions: int) -> Claim:
    """Headers around a real body of one lane, most of them of this codec and as narrow as they can be."""
    lanes_log2 = draw(st.sampled_from([0, 0, 0, 1, 2, 5, 9, 12, 13]))
    dims = draw(st.sampled_from([dimensions] * 5 + [1, 2, 3, 4]))
    size = tuple(draw(LENGTHS | st.integers(1, 300)) for _ in range(dims))
    if dimensions == 3 and dims == 3 and draw(st.booleans()):
        size = (*size[:2], draw(st.sampled_from([1, 3])))
    rest = body[4:] + bytes(draw(st.sampled_from([0, 0, 1, 2, 700, 9000])))
    whole = bytes(4 << lanes_log2) + rest if lanes_log2 else body[:4] + rest
    largest = max(*size, 0, 33 + len(whole))
    fitting = 0 if largest < 256 else 1 if largest < 65536 else 2
    width_log2 = draw(st.sampled_from([fitting] * 6 + [0, 1, 2, 3]))
    head = b"LW\x01" + draw(st.sampled_from([codec_id[:4]] * 9 + [b"abcd"]))
    off = draw(st.sampled_from([0] * 9 + [1, -1, -len(whole)]))
    return Claim(head, draw(st.integers(0, 255)), lanes_log2 | width_log2 << 4 | (dims - 1) << 6, size, off, whole)
