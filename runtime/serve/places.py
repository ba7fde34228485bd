"""Places for connections: there are so many, and who only waits gives way to who comes.

A connection is at work from the moment its request is known to be a device's until the answer is out. All others (in
their TLS handshake, sending headers, between two requests, refused) may have to go: when there is no free place, the
one that has waited longest, of the address that has most such connections, is closed for the new one. So whoever opens
thousands of connections closes their own, from one address or from many, and a device that sends at once is served.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache

KNOWN = "latentwire.known"
"""In a request's scope: what to call when it is known whose request it is."""
V6_NETWORK = 64
"""Bits of an IPv6 address that tell one site from another: within them everybody has as many addresses as they want."""


class Place:
    """One connection's place.

    Args:
        site: where it comes from, see `site_of`.
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self.close: Callable[[], object] = _nothing
        """How the connection is ended at once."""


class Places:
    """So many places, not for several threads.

    Args:
        most: of them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: set[Place] = set()
        self._waiting: dict[str, dict[Place, None]] = {}
        """Those that may have to go, by site, those that wait longest first."""

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, place: Place) -> bool:
        """Whether the connection still has it."""
        return place in self._held

    def take(self, site: str) -> tuple[Place | None, Place | None]:
        """A place for a new connection; None where all are at work. And the place that was given up for it."""
        gone = None
        if len(self._held) >= self.most:
            gone = self._longest_waiting()
            if gone is None:
                return None, None
            self.free(gone)
            gone.close()
        place = Place(site)
        self._held.add(place)
        self.wait(place)
        return place, gone

    def work(self, place: Place) -> None:
        """The connection is at work."""
        waiting = self._waiting.get(place.site, {})
        waiting.pop(place, None)
        if not waiting:
            self._waiting.pop(place.site, None)

    def wait(self, place: Place) -> None:
        """The connection is not at work, from now on if it was."""
        if place in self._held:
            self._waiting.setdefault(place.site, {}).setdefault(place)

    def free(self, place: Place) -> None:
        """The connection has ended."""
        self._held.discard(place)
        self.work(place)

    def _longest_waiting(self) -> Place | None:
        fullest = max(self._waiting.values(), key=len, default=None)
        return None if fullest is None else next(iter(fullest))


@lru_cache(1024)
def site_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, V6_NETWORK), strict=False))
        found = found.ipv4_mapped
    return str(found)


def _nothing() -> None:
    """Nobody is connected yet."""
