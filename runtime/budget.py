"""The highest quality whose packet fits into a number of bytes."""

from __future__ import annotations

from collections.abc import Callable

from latentwire.runtime.errors import BudgetError, SettingError

SLACK_SHARE, SLACK_BYTES = 64, 8
"""Above a quality that does not fit, others are tried until a packet is too long by a 64th and 8 bytes."""


def highest_quality(encode: Callable[[int], bytes], max_bytes: int, highest: int) -> tuple[int, bytes]:
    """The highest quality up to ``highest`` whose packet has at most ``max_bytes`` bytes, and that packet.

    A bisection finds a quality that fits below one that does not. Length grows with quality but not strictly (tables
    and lanes change in steps), so the qualities above are tried too, until packets are longer than the slack. The
    result is exact as long as no packet is shorter than one of lower quality by more than that.

    Args:
        encode: quality -> packet.
        max_bytes: bytes that are allowed.
        highest: the highest quality to try.

    Raises:
        SettingError: ``max_bytes`` is below 1.
        BudgetError: not even quality 0 fits.
    """
    if max_bytes < 1:
        raise SettingError(f"expected max_bytes from 1, found {max_bytes}")
    packet = encode(highest)
    if len(packet) <= max_bytes:
        return highest, packet
    found, above = _bisect(encode, max_bytes, highest)
    patience = max_bytes + max_bytes // SLACK_SHARE + SLACK_BYTES
    for quality in range(above + 1, highest):
        packet = encode(quality)
        if len(packet) <= max_bytes:
            found = (quality, packet)
        elif len(packet) > patience:
            break
    if found is None:
        shortest = len(encode(0))
        raise BudgetError(
            f"expected a packet of at most {max_bytes} bytes, found {shortest} at quality 0: send fewer items"
        )
    return found


def _bisect(encode: Callable[[int], bytes], max_bytes: int, above: int) -> tuple[tuple[int, bytes] | None, int]:
    """(A quality that fits and its packet, the quality above it, which does not); the first is None below 0."""
    found, below = None, -1
    while above - below > 1:
        middle = (above + below) // 2
        packet = encode(middle)
        if len(packet) <= max_bytes:
            found, below = (middle, packet), middle
        else:
            above = middle
    return found, above
