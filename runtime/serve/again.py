"""Packets that go from quarantine back into the inbox: whoever asks for it leaves a file, the service takes it in.

Nobody but the service ever touches the inbox, so asking (`quarantine.ask`) is safe whether a service runs or not. What
was never accepted goes through all checks as if it came anew, and back to quarantine where it still fails them. What
had been accepted was named then: its name is no duplicate now.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentwire.runtime.errors import LocalError, ManifestError, RemoteError
from latentwire.runtime.serve.errors import ConflictError
from latentwire.runtime.serve.inbox import Arrival, Inbox, Outcome
from latentwire.runtime.serve.intake import Intake, Refusal, name_of
from latentwire.runtime.serve.known import CONFLICT
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.quarantine import AGAIN, Quarantine, asked, read_asked
from latentwire.runtime.wire import Envelope

SECONDS = 2.0
"""Between two looks into the folder."""


class Returns:
    """A thread that takes in what was asked for.

    Args:
        folder: of the inbox.
        inbox: takes the packets.
        intake: checks them.
        quarantine: where they came from, and go back to.
    """

    def __init__(self, folder: Path, inbox: Inbox, intake: Intake, quarantine: Quarantine) -> None:
        self._folder = folder / AGAIN
        self._inbox, self._intake, self._quarantine = inbox, intake, quarantine
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="again", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Take in no more."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(SECONDS):
            try:
                for path in asked(self._folder):
                    self._take(path)
                    if self._ends.is_set():
                        return
            except (LocalError, OSError, MemoryError) as fault:  # no room, no disk: at the next look
                event("failed", logging.ERROR, error=type(fault).__name__, message=str(fault)[:400])

    def _take(self, path: Path) -> None:
        """One packet: it leaves its file when it is in the inbox, or in quarantine."""
        try:
            body, envelope, accepted = read_asked(path)
        except (ManifestError, RemoteError) as fault:
            path.rename(path.with_suffix(".bad"))
            event("failed", logging.ERROR, error=type(fault).__name__, message=str(fault)[:400])
            return
        self._quarantine.forget(path.stem)
        self._taken(body, envelope, accepted)
        path.unlink()

    def _taken(self, body: bytes, envelope: Envelope | None, accepted: bool) -> None:
        try:
            arrivals = self._checked(body, envelope, accepted)
        except RemoteError as fault:
            self._quarantine.add(body, fault, envelope, accepted=accepted)
            event("refused again", logging.WARNING, id=name_of(body, envelope), error=type(fault).__name__)
            return
        for arrival, status in zip(arrivals, self._offered(arrivals), strict=True):
            event("taken again", id=arrival.name, status=status)
            if status == CONFLICT:
                self._quarantine.add(arrival.body, ConflictError(arrival.name), arrival.envelope)

    def _checked(self, body: bytes, envelope: Envelope | None, accepted: bool) -> list[Arrival]:
        if accepted:
            return [replace(self._intake.named(body, envelope), again=True)]
        batch = self._intake.check(body, envelope)
        first = batch.packets[0]
        if isinstance(first, Refusal) and not batch.is_stream:
            raise first.error
        return batch.arrivals

    def _offered(self, arrivals: Sequence[Arrival]) -> list[str]:
        """What became of them, when it is on the disk.

        Raises:
            LocalError: the inbox has no room, or cannot be written.
        """
        told: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._inbox.offer(arrivals, told.put)
        outcome = told.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
