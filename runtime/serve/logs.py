"""One JSON object a line on stderr, for each event. Tokens and packets are never in it.

What a stranger can cause as often as they like must not fill the disk: of warnings and errors of one kind a burst is
written, and after it one a second, which says how many were left out before it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from time import monotonic
from typing import Any

LOGGER = logging.getLogger("latentwire.serve")
BURST = 50
KINDS = 256
"""That are told apart at once; names of errors and events are few, messages of libraries need not be."""


def event(name: str, level: int = logging.INFO, **facts: str | int | float | None) -> None:
    """Say that something happened."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"facts": facts})


class Tally:
    """Counts what can happen a thousand times a second, and says in one line a second what there was of each.

    Args:
        name: of the event.
        loop: whose thread counts.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._loop = loop
        self._counts: Counter[str] = Counter()
        self._due: asyncio.TimerHandle | None = None

    def count(self, what: str) -> None:
        """It happened once more."""
        self._counts[what] += 1
        if self._due is None:
            self._due = self._loop.call_later(1.0, self.say)

    def say(self) -> None:
        """Write the line, if there is anything to say."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._counts:
            event(self._name, logging.WARNING, **self._counts)
            self._counts.clear()


class Burst(logging.Filter):
    """Lets through a burst of warnings and errors of each kind, then one a second.

    A line that comes after others were left out has their number as its fact ``left_out``.

    Args:
        most: of a burst.
        clock: in seconds.
    """

    def __init__(self, most: int = BURST, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], _Left] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        facts: dict[str, Any] = getattr(record, "facts", {})
        kind: tuple[object, ...] = (record.name, str(record.msg), facts.get("error"))
        with self._lock:
            found = self._kinds.get(kind)
            if found is None:
                if len(self._kinds) >= KINDS:
                    kind = ()  # all others share one
                found = self._kinds.setdefault(kind, _Left(self._most, self._clock()))
            written, left_out = found.next(self._clock(), self._most)
        if written and left_out:
            record.facts = {"logger": record.name} | facts | {"left_out": left_out}
        return written


class _Left:
    """What may still be written of one kind."""

    def __init__(self, most: int, now: float) -> None:
        self._lines = float(most)
        self._since = now
        self._out = 0

    def next(self, now: float, most: int) -> tuple[bool, int]:
        """Whether one more is written, and how many were left out before it."""
        self._lines = min(float(most), self._lines + now - self._since)
        self._since = now
        if self._lines < 1:
            self._out += 1
            return False, 0
        self._lines -= 1
        out, self._out = self._out, 0
        return True, out


class JsonLines(logging.Formatter):
    """Time, level, event, then the event's own facts."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        head: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line = head | getattr(record, "facts", {"logger": record.name})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def to_stderr(level: str) -> None:
    """Everything that is logged in this process, by libraries too, goes to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Burst())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("uvicorn.error", "uvicorn.access"):  # its own start and stop messages; ours say it with the facts
        logging.getLogger(name).setLevel(logging.WARNING)
