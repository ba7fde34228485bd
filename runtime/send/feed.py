"""Puts a file's items into a sender so that each of them is sent once, however often the process is killed.

How far a file was taken is stored in the same transaction as the packet that took it so far. An item that cannot be
sent is left out, reported with its place in the file, and counted; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import click

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import BudgetError, InputError, LocalError, SettingError, about
from latentwire.runtime.send.sender import Sender
from latentwire.runtime.send.sources import stamp_of
from latentwire.runtime.send.spool import Mark

MAX_FAULTS = 100
"""That are kept: a folder is watched for long."""


class LeftOut:
    """Items of one source that could not be sent.

    Args:
        source: a path, or "stdin".
        count: items that it has; None where nobody knows.
    """

    def __init__(self, source: str, count: int | None = None) -> None:
        self._source, self._of = source, "" if count is None else f" of {count}"
        self.number = 0
        self.first: LocalError | None = None
        """What was wrong with the first one."""

    def add(self, faults: Sequence[LocalError]) -> None:
        """Count these."""
        if faults and self.first is None:
            self.first = faults[0]
            if self.first.file is None:
                self.first.file = self._source
        self.number += len(faults)

    def say(self) -> None:
        """Tell a person, if there were any."""
        if self.first is not None:
            told = f"{self.number}{self._of} items left out, the first: {type(self.first).__name__}: {self.first}"
            click.echo(f"latentwire: {Path(self._source).name}: {told}", err=True)


class FileFeed:
    """Takes files.

    Args:
        sender: where their items go.
        load: a file's items, one by one or as an array [N, ...].
        delete: remove a file when its items are in the spool.
    """

    def __init__(self, sender: Sender, load: Callable[[Path], Sequence[Array]], *, delete: bool = False) -> None:
        self._sender, self._load, self._delete = sender, load, delete
        self._tried: dict[Path, str] = {}
        self._to_delete: list[Path] = []
        self.faults: list[LocalError] = []
        """What was wrong with the first files in which something was wrong."""

    def take(self, path: Path) -> int:
        """Put what was not yet put of a file; returns how many items that were.

        A file that cannot be read is reported and left; it is tried again when it changes, or at the next start. Items
        of a file that cannot be encoded are reported once, and the file is not removed.
        """
        path = path.absolute()
        stamp = stamp_of(path)
        if stamp is None or self._tried.get(path) == stamp:
            return 0
        self._tried[path] = stamp
        try:
            with about(path):
                return self._put(path, stamp)
        except (InputError, BudgetError, SettingError) as fault:
            click.echo(f"latentwire: {path.name} left out: {type(fault).__name__}: {fault}", err=True)
            self._blame(fault)
            return 0
        finally:
            self.sweep()

    def sweep(self) -> None:
        """Remove files that are to be removed and are in the spool to the last item."""
        waiting, self._to_delete = self._to_delete, []
        for path in waiting:
            mark = self._sender.progress(str(path))
            if mark is None or not mark.whole or mark.left_out:
                self._to_delete.append(path)
            elif mark.stamp == stamp_of(path):
                with suppress(FileNotFoundError):
                    path.unlink()
                self._tried.pop(path, None)

    def _put(self, path: Path, stamp: str) -> int:
        known = self._sender.progress(str(path))
        done = known.done if known is not None and known.stamp == stamp else 0
        if self._delete:
            self._to_delete.append(path)
        if known is not None and known.stamp == stamp and known.whole:
            return 0
        items = self._load(path)
        taken_at = int(stamp.partition(":")[2]) // 1_000_000
        left_out = LeftOut(str(path), len(items))
        for place in range(done, len(items)):
            mark = Mark(str(path), stamp, place + 1, place + 1 == len(items))
            note = {"file": path.name}
            left_out.add(self._sender.offer(items[place], note, max(0, taken_at), mark=mark, first=place))
        left_out.say()
        if left_out.first is not None:
            self._blame(left_out.first)
        return len(items) - done

    def _blame(self, fault: LocalError) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
