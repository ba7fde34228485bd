"""Runs that are broken off: inside the process, or by a signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class InterruptedRunError(Exception):
    """Raised where a test breaks a run off."""


def kill_in_the_middle(out: Path, *arguments: str, seconds: float = 120) -> None:
    """`latentwire train` with these arguments, killed when it has written two lines of metrics into ``out``."""
    program = "from latentwire.train.cli import train; train()"
    metrics = out / "metrics.jsonl"
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + seconds
        while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
