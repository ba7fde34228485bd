"""What the training loops of all families share: where their outputs go, metrics, the bar, threads."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from latentwire.train.checkpoint import Checkpoint, write_atomically


@dataclass(frozen=True)
class Outputs:
    """Where a loop puts what it makes.

    Attributes:
        store: stores a checkpoint.
        metrics: path of the metrics.
        report: told what happens, in lines for a person.
    """

    store: Callable[[Checkpoint], None]
    metrics: Path
    report: Callable[[str], None] = lambda _: None


def append_metrics(path: Path, line: dict[str, Any]) -> None:
    """Adds one JSON line."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def rewind_metrics(path: Path, step: int) -> None:
    """Drops the lines of steps after `step`, and a last line that a kill cut short."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_atomically(path, "".join(kept).encode())


def progress_bar(total: int | None, done: int) -> "tqdm[Any]":
    """A progress bar on stderr, only where that is a terminal; `total` is None where the clock decides."""
    return tqdm(
        total=total, initial=done, desc="training", unit="step", file=sys.stderr, disable=None, dynamic_ncols=True
    )


def show_scores(bar: "tqdm[Any]", scores: dict[str, float]) -> None:
    """Moves the bar on by one step."""
    if not bar.disable:
        bar.set_postfix({name: f"{value:.4g}" for name, value in scores.items()}, refresh=False)
        bar.update()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within, torch uses this many threads: the order of its sums, and so the last bit of them, depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
