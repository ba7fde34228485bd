"""What an input may cost: processor time and memory, by its bytes and by the values that came out of it."""

from __future__ import annotations

import resource
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from targets import Target

START_SECONDS = 0.25
"""Whatever the input: a service's threads and the collector count along."""
BYTE_SECONDS = 20e-6
VALUE_SECONDS = 20e-6
"""A picture of `photo` takes about 0.5 microseconds a value."""
MEMORY = 1 << 30
"""Bytes that a process may take beyond what it has when fuzzing begins; the system refuses it more."""


@dataclass
class Worst:
    """The dearest input so far."""

    seconds: float = 0.0
    bytes: int = 0
    values: int = 0
    start: str = ""


@dataclass
class Judge:
    """Runs a target and keeps what it cost.

    Attributes:
        runs: how many inputs.
        worst: by processor time beyond what its values explain.
        memory: most bytes by which one input raised the process's peak.
    """

    target: Target
    runs: int = 0
    worst: Worst = field(default_factory=Worst)
    memory: int = 0

    def check(self, data: bytes) -> None:
        """Run one input.

        Raises:
            AssertionError: it took more processor time than allowed.
            Exception: whatever the target fails by.
        """
        peak, began = _peak(), time.process_time()
        values = self.target.check(data)
        seconds = time.process_time() - began
        self.runs += 1
        self.memory = max(self.memory, _peak() - peak)
        if seconds - VALUE_SECONDS * values > self.worst.seconds - VALUE_SECONDS * self.worst.values:
            self.worst = Worst(seconds, len(data), values, data[:64].hex())
        allowed = START_SECONDS + BYTE_SECONDS * len(data) + VALUE_SECONDS * values
        if seconds > allowed:
            raise AssertionError(f"expected at most {allowed:.2f} s for {len(data)} bytes, took {seconds:.2f}")

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {"target": self.target.name, "runs": self.runs, "memory": self.memory, "worst": asdict(self.worst)}


def limit_memory() -> None:
    """From here on the process gets `MEMORY` more, and no more."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
