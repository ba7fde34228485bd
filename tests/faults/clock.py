"""`latentwire`, with a clock that somebody sets: python tests/faults/clock.py FILE COMMAND ...

FILE holds seconds that this process's clock is ahead, or behind; it is read at each look at the clock. Time since the
start, which deadlines go by, runs on as it does when a system's clock is set.
"""

import os
import sys
import time
from pathlib import Path

REAL, REAL_NS = time.time, time.time_ns


def main() -> None:
    """Set the clock, then be the command."""
    place = Path(sys.argv[1])

    def offset() -> float:
        try:
            return float(place.read_text())
        except (OSError, ValueError):  # it is being written
            return 0.0

    time.time = lambda: REAL() + offset()
    time.time_ns = lambda: REAL_NS() + round(offset() * 1e9)
    sys.argv = ["latentwire", *sys.argv[2:]]
    from latentwire.runtime.cli import main as command

    sys.exit(command())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
