"""What is said while packets are sent: each change of state once, whatever the number of packets that meet it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

from latentwire.runtime.send.link import Busy, Refused

QUIET_SECONDS = 60.0
"""Between two reports of one kind of failure that may be a packet's own: other packets arrive meanwhile."""
MOST_KINDS = 64
"""That are told apart."""


@dataclass(frozen=True)
class Event:
    """Something that is worth saying.

    Args:
        kind: `failing`, `working`, `refused`, `renamed`, `left out`, `dropping`, `broken`.
        message: a sentence.
        level: as `logging` has them.
    """

    kind: str
    message: str
    level: int = logging.WARNING

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"event": self.kind, "level": logging.getLevelName(self.level).lower(), "message": self.message}


class Changes:
    """Tells changes of state from more of the same. Pure: the time, in seconds, is an argument."""

    def __init__(self) -> None:
        self._state: str | None = None
        """Kind of the failure that was told; empty while packets arrive, None before the first answer."""
        self._quiet_until: dict[str, float] = {}
        self._refusals: set[str] = set()
        self._spools: set[str] = set()

    def failed(self, answer: Busy, now: float) -> Event | None:
        """A packet could not be delivered."""
        kind = answer.kind or answer.message
        if kind == self._state or now < self._quiet_until.get(kind, -math.inf):
            return None
        if answer.is_packets:
            if len(self._quiet_until) > MOST_KINDS:  # who answers does not get to fill the memory
                self._quiet_until.clear()
            self._quiet_until[kind] = now + QUIET_SECONDS
        self._state = kind
        advice = ": only a person can change that; tried again now and then" if answer.needs_hand else ""
        level = logging.ERROR if answer.needs_hand else logging.WARNING
        return Event("failing", f"packets wait, sending fails: {answer.message}{advice}", level)

    def answered(self) -> Event | None:
        """The server has spoken of a packet."""
        before, self._state = self._state, ""
        if before:
            return Event("working", "sending works again")
        return Event("working", "sending works", logging.INFO) if before is None else None

    def refused(self, name: str, answer: Refused) -> Event:
        """The server has refused a packet: the first one of each reason is a warning."""
        level = logging.INFO if answer.error in self._refusals or len(self._refusals) > MOST_KINDS else logging.WARNING
        if level == logging.WARNING:
            self._refusals.add(answer.error)
        return Event("refused", f"the server refuses {name}: {answer.error}: {answer.message}", level)

    def renamed(self, name: str, spool: str | None) -> Event | None:
        """A packet was in conflict; ``spool`` is what `Spool.rename` said."""
        if spool is None:
            return None
        if not spool:
            return Event("refused", f"{name} needs another name, and cannot be sealed under it: kept aside")
        level = logging.INFO if spool in self._spools else logging.WARNING
        self._spools.add(spool)
        return Event("renamed", f"the server has another packet {name}, this spool is a copy: sent as {spool}", level)
