"""How much is sent, and how well: a token bucket, a backoff and the quality that follows the spool. Pure, no clocks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from latentwire.runtime.encoder import check_quality
from latentwire.runtime.errors import SettingError

FALLS_FROM, LOWEST_AT = 1 / 8, 3 / 4
"""Shares of the spool's bound: up to the first, quality is the highest; from the second on, the lowest."""
SLACK = 1 / 16
"""How much the spool must drain, as a share of its bound, before quality rises again."""


@dataclass(frozen=True)
class Rate:
    """How much is sent, and how well.

    Args:
        quality: of packets while the spool is nearly empty, 0..255; None for the codec's default, or with
            ``max_bytes`` the highest that fits.
        lowest: quality when the spool is full; as high as ``quality``, it fixes the quality.
        max_bytes: of one packet, sealed if it is; batches that do not fit are divided.
        bandwidth: bytes a second, packets and envelopes; None for all there is.
    """

    quality: int | None = None
    lowest: int = 0
    max_bytes: int | None = None
    bandwidth: float | None = None


class TokenBucket:
    """Bytes per second over any stretch of time, after a pause the bytes of one second at once.

    A packet may be larger than the bucket: it goes when the bucket is not empty, and the debt is waited for.

    Args:
        rate: bytes a second.

    Raises:
        SettingError: a rate that is not above 0.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        if not rate > 0:
            raise SettingError(f"expected a bandwidth above 0 bytes a second, found {rate:g}")
        self._level, self._at = rate, 0.0

    def delay(self, now: float) -> float:
        """Seconds until something may be sent; ``now`` is in seconds and never goes back."""
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, -self._level / self._rate)

    def spend(self, count: int) -> None:
        """So many bytes are sent, at the time of the last `delay`."""
        self._level -= count


class Backoff:
    """Seconds to wait after failures: exponential with full jitter.

    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)

    Args:
        first: seconds that the first wait takes at most.
        longest: seconds that any wait takes at most, unless the server asks for more.
        draw: a number from [0, 1).

    Raises:
        SettingError: not 0 < first <= longest.
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0, draw: Callable[[], float] = random.random) -> None:
        if not 0 < first <= longest:
            raise SettingError(f"expected a first wait in (0, longest], found {first:g} and {longest:g} s")
        self._first, self._longest, self._draw = first, longest, draw
        self.failures = 0
        """Since the last success."""

    def failed(self, at_least: float = 0.0, *, needs_hand: bool = False) -> float:
        """Seconds to wait now.

        Args:
            at_least: seconds that the server asked for.
            needs_hand: nothing but a person changes the answer: wait the longest time at once.
        """
        self.failures += 1
        if needs_hand:
            return max(at_least, self._longest * (1 + self._draw()) / 2)
        most = min(self._longest, self._first * 2.0 ** min(self.failures - 1, 63))
        return at_least + most * self._draw()

    def succeeded(self) -> None:
        """The next failure is the first one."""
        self.failures = 0


class QualityControl:
    """Quality that falls while the spool grows and recovers when it drains.

    It falls with the spool's fill in a straight line, at once. It rises only when the fill has gone down by `SLACK`, so
    that a spool that breathes a little does not make quality flicker.

    Args:
        highest: quality of an empty spool, 0..255.
        lowest: quality of a full one, at most ``highest``; the same one fixes the quality.

    Raises:
        SettingError: not qualities, or the lowest is above the highest.
    """

    def __init__(self, highest: int, lowest: int = 0) -> None:
        self._highest, self._lowest = check_quality(highest), check_quality(lowest)
        if self._lowest > self._highest:
            raise SettingError(f"expected a lowest quality of at most {highest}, found {lowest}")
        self._fill = 0.0

    @property
    def quality(self) -> int:
        """Quality of the next packet."""
        share = min(1.0, max(0.0, (self._fill - FALLS_FROM) / (LOWEST_AT - FALLS_FROM)))
        return round(self._highest - share * (self._highest - self._lowest))

    def update(self, fill: float) -> int:
        """The quality, now that the spool is so full; ``fill`` is a share of its bound."""
        self._fill = min(max(self._fill, fill), fill + SLACK)
        return self.quality
