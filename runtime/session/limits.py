"""What keeps a model from taking a machine down: names for short memory, and an end to what runs too long."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from latentwire.runtime.errors import ResourceError

P = ParamSpec("P")
R = TypeVar("R")

RUN_SECONDS = 600.0
"""A run that takes longer is ended: the largest packet takes a slow board a minute."""
_TICK = 5.0

_SHORT = re.compile(
    r"bad_alloc|bad allocation|failed to allocate|cannot allocate|unable to allocate|out of memory|outofmemory|"
    r"not enough memory|alloc_failed|memoryallocation",
    re.IGNORECASE,
)
"""What ONNX Runtime, its arena, CUDA, DirectML and their kin say where an allocation fails."""


def is_short_of_memory(fault: BaseException) -> bool:
    """Whether something failed for want of memory, and not for what it was given."""
    return isinstance(fault, MemoryError) or _SHORT.search(str(fault)) is not None


def told_by_name(work: Callable[P, R]) -> Callable[P, R]:
    """The function, but where Python itself is short of memory, that is a `ResourceError` too."""

    @functools.wraps(work)
    def told(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return work(*arguments, **options)
        except MemoryError as fault:
            raise short_of_memory(f"for {work.__name__}", fault) from fault

    return told


def short_of_memory(work: str, fault: BaseException) -> ResourceError:
    """The error of a machine that has too little memory ``work``: "to load a model"."""
    found = f": {fault}" if str(fault) else ""
    return ResourceError(f"expected memory {work}, found too little on this machine{found}: try again with more")


class Watch:
    """Ends runs that take too long, from a thread that is there only while something runs.

    It looks at them every five seconds: a run costs an entry in a table, not a thread or a timer of its own.
    """

    def __init__(self, tick: float = _TICK) -> None:
        self._tick = tick
        self._lock = threading.Lock()
        self._runs: dict[int, Run] = {}
        self._thread: threading.Thread | None = None

    def add(self, run: Run) -> None:
        """Watch a run from now on."""
        with self._lock:
            self._runs[id(run)] = run
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="latentwire-watch", daemon=True)
                self._thread.start()

    def remove(self, run: Run) -> None:
        """It is over."""
        with self._lock:
            del self._runs[id(run)]

    def _look(self) -> None:
        idle = False
        while True:
            time.sleep(self._tick)
            now = time.monotonic()
            with self._lock:
                for run in self._runs.values():
                    if now > run.deadline:
                        run.end()
                if not self._runs and idle:
                    self._thread = None
                    return
                idle = not self._runs


WATCH = Watch()


def _after_fork() -> None:
    global WATCH  # its thread did not come along, its lock may be held by one that did not
    WATCH = Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Run:
    """One run of a model, as a context; `options` go to ONNX Runtime.

    Args:
        seconds: after which it is ended.
    """

    def __init__(self, seconds: float = RUN_SECONDS) -> None:
        import onnxruntime as ort

        self.options: Any = ort.RunOptions()
        self.deadline = time.monotonic() + seconds
        self.ended = False
        self._watch = WATCH

    def end(self) -> None:
        """ONNX Runtime stops before the next node, also within a loop."""
        self.ended = True
        self.options.terminate = True

    def __enter__(self) -> Run:
        self._watch.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.remove(self)
