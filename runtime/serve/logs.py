"""One JSON object a line on stderr, for each event. Tokens and packets are never in it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("latentwire.serve")


def event(name: str, level: int = logging.INFO, **facts: str | int | float | None) -> None:
    """Say that something happened."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"facts": facts})


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
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in ("uvicorn.error", "uvicorn.access"):  # its own start and stop messages; ours say it with the facts
        logging.getLogger(name).setLevel(logging.WARNING)
