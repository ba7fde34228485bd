"""What stands in the way of packets: of all of them, or of those of one codec.

Where the sink or the inbox fails, everything waits. Where this machine cannot decode (no memory, no provider, a library
that is missing), the packets that it could not decode are held: they have pauses of their own, and each is tried alone,
so that a picture too large for this machine does not stop small ones. Pauses grow while nothing works, for what is held
and for what comes new each by itself; `texts` says what is wrong until what failed has worked.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from latentwire.runtime.errors import LocalError, ModelError
from latentwire.runtime.serve.errors import InboxError, SinkError
from latentwire.runtime.serve.inbox import Entry

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
NO_THREAD = "can't start new thread"
"""What Python says, as a RuntimeError, where there is no memory or no number left for a thread."""


def is_local(fault: Exception) -> bool:
    """Whether this machine is to blame, whatever the packet: a model that stops is not so clear."""
    if isinstance(fault, ModelError):
        return False
    return isinstance(fault, LocalError | OSError | MemoryError) or NO_THREAD in str(fault)


def is_everybodys(fault: Exception) -> bool:
    """Whether no packet gets through, of whatever codec: the sink, the inbox, the disk."""
    return isinstance(fault, InboxError | OSError)


class Backoff:
    """How long to wait after a failure: twice as long each time, with jitter."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE

    def failed(self) -> float:
        """Seconds to wait."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1)

    def worked(self) -> None:
        """From the beginning again."""
        self._pause = FIRST_PAUSE


@dataclass
class _Trouble:
    """One codec's."""

    fresh: Backoff = field(default_factory=Backoff)
    held: Backoff = field(default_factory=Backoff)
    entries: set[int] = field(default_factory=set)
    """That failed and have not worked since."""
    said: str = ""

    def of(self, batch: Sequence[Entry]) -> Backoff:
        return self.held if batch[0].held else self.fresh


class Troubles:
    """What failed last and has not worked since; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all = Backoff()
        self._said_of_all: str | None = None
        self._codecs: dict[bytes, _Trouble] = {}

    def all_failed(self, fault: Exception) -> float:
        """Nothing gets through; returns how many seconds everything is to wait."""
        with self._lock:
            self._said_of_all = f"{_place(fault)}: {fault}"
            return self._all.failed()

    def failed(self, batch: Sequence[Entry], name: str, fault: Exception) -> float:
        """Packets of one codec could not be decoded.

        Args:
            batch: the packets.
            name: of their codec.
            fault: why.

        Returns:
            Seconds that others like them, held or not, are to wait.
        """
        with self._lock:
            found = self._codecs.setdefault(batch[0].codec, _Trouble())
            found.entries.update(entry.id for entry in batch)
            found.said = f"decoder: {name}: {type(fault).__name__}: {fault}"
            return found.of(batch).failed()

    def worked(self, batch: Sequence[Entry]) -> None:
        """These are in the sink."""
        with self._lock:
            self._all.worked()
            self._said_of_all = None
            found = self._codecs.get(batch[0].codec)
            if found is None:
                return
            found.of(batch).worked()
            if batch[0].held:  # what could not be decoded before can be now
                found.fresh.worked()
            self._drop(batch)

    def gave_up(self, batch: Sequence[Entry], *, are_last: bool) -> None:
        """These wait no longer; where nothing else does, nobody would come by whose success ends what was said."""
        with self._lock:
            self._drop(batch)
            if are_last:
                self._all.worked()
                self._said_of_all = None

    def _drop(self, batch: Sequence[Entry]) -> None:
        found = self._codecs.get(batch[0].codec)
        if found is not None:
            found.entries.difference_update(entry.id for entry in batch)

    @property
    def texts(self) -> list[str]:
        """What is wrong, for a person; empty where nothing is."""
        with self._lock:
            of_all = [] if self._said_of_all is None else [self._said_of_all]
            waiting = [(found.said, len(found.entries)) for found in self._codecs.values() if found.entries]
        return of_all + [f"{said} ({count} packets wait for it)" for said, count in waiting]


def _place(fault: Exception) -> str:
    """Where it failed."""
    if isinstance(fault, InboxError):
        return "inbox"
    return "sink" if isinstance(fault, SinkError) else "disk"
