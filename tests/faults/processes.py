"""The processes that faults happen to."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BROKER = "broker"
"""A process of this name need not end well: it is none of ours."""


@dataclass
class Process:
    """A process that is started again whenever it was killed."""

    command: Callable[[], list[str]]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(self.command(), stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: nothing is said before the end."""
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def end(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(60)

    @property
    def died(self) -> bool:
        """Whether it ended by itself."""
        return self.running is not None and self.running.poll() is not None


def ended(processes: Mapping[str, Process], names: Iterable[str]) -> Iterator[str]:
    """Ask those that are there to end, in that order; what went wrong."""
    for name in names:
        process = processes.get(name)
        if process is None:
            continue
        if process.died:
            yield f"{name} ended by itself: {tail(process.log)}"
        elif (status := process.end()) and name != BROKER:
            yield f"{name} ended with {status}: {tail(process.log)}"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(encoding="utf-8", errors="replace")[-500:]
