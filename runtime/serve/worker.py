"""From the inbox to the sink: workers take batches, decode them, and let packets go when the sink has them.

A packet leaves the inbox in three ways: its files are in the sink; it does not decode and is in quarantine; or it
ended the service, or failed for a reason that is not its own, so often that it is in quarantine.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import LocalError, RemoteError
from latentwire.runtime.serve.codecs import Codec, Codecs
from latentwire.runtime.serve.errors import InboxError, SinkError
from latentwire.runtime.serve.inbox import Entry, Inbox, Stored
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.metrics import Metrics
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.render import files_of
from latentwire.runtime.serve.sinks import File, Sink
from latentwire.runtime.serve.waiting import Waiting

MAX_ATTEMPTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0


class Backoff:
    """How long to wait after a failure, and what failed last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause = FIRST_PAUSE
        self.fault: str | None = None

    def failed(self, fault: Exception) -> float:
        """Seconds to wait: twice as long each time, with jitter."""
        with self._lock:
            self.fault = str(fault)
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
            return pause * random.uniform(0.5, 1)

    def worked(self) -> None:
        """From the beginning again."""
        with self._lock:
            self.fault, self._pause = None, FIRST_PAUSE


class Workers:
    """Threads that decode.

    Args:
        count: of threads.
        waiting: what they take from.
        inbox: where the packets are.
        codecs: that decode them.
        sink: where they go.
        quarantine: where those go that do not decode.
        metrics: counts them.
        form: of pictures in the sink.
    """

    def __init__(
        self,
        count: int,
        waiting: Waiting,
        inbox: Inbox,
        codecs: Codecs,
        sink: Sink,
        quarantine: Quarantine,
        metrics: Metrics,
        form: str,
    ) -> None:
        self._waiting, self._inbox, self._codecs = waiting, inbox, codecs
        self._sink, self._quarantine, self._metrics, self._form = sink, quarantine, metrics, form
        self.backoff = Backoff()
        self._threads = [threading.Thread(target=self._run, name=f"worker-{n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> bool:
        """Take nothing more; whether what was in work is finished within that time."""
        self._waiting.close()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while batch := self._waiting.take():
            began = time.monotonic()
            worked = False
            try:
                self._work(batch)
                worked = True
            except Exception as fault:
                self._put_off(batch, fault)
            finally:
                self._waiting.done(batch, time.monotonic() - began if worked else None)

    def _work(self, batch: list[Entry]) -> None:
        """One batch from the inbox to the sink."""
        if batch[0].attempts >= MAX_ATTEMPTS:
            self._give_up(batch)
            return
        self._count_attempts(batch)
        codec = self._codecs[batch[0].codec]
        stored = self._inbox.read(batch)
        began = time.monotonic()
        decoder = codec.beside if self._waiting.is_crowded else codec.decoder
        results = decoder.decode_each([packet.body for packet in stored])
        decoded = time.monotonic()
        self._store(codec, stored, results)
        self._inbox.finish(batch)
        self.backoff.worked()
        self._report(batch, codec, decoded - began, time.monotonic() - decoded)

    def _store(self, codec: Codec, stored: Sequence[Stored], results: Sequence[Array | RemoteError]) -> None:
        files: list[File] = []
        for packet, result in zip(stored, results, strict=True):
            if not isinstance(result, RemoteError):
                files += files_of(packet, codec, result, self._form)
        self._sink.put(files)
        for packet, result in zip(stored, results, strict=True):
            if isinstance(result, RemoteError):
                self._set_aside(packet, result)
        self._metrics.decoded.labels(codec.name).inc(sum(not isinstance(result, RemoteError) for result in results))

    def _set_aside(self, packet: Stored, fault: Exception) -> None:
        """A packet that does not decode: what was accepted is kept, in quarantine."""
        self._quarantine.add(packet.body, fault, packet.envelope, durable=True)
        reason = type(fault).__name__
        self._metrics.undecodable.labels(reason).inc()
        event("undecodable", logging.WARNING, id=packet.name, error=reason, message=str(fault)[:400])

    def _count_attempts(self, batch: list[Entry]) -> None:
        """A packet may end this process: the next one can tell by the attempts, on the disk before each is made."""
        leftovers = [entry for entry in batch if entry.leftover]
        if leftovers:
            self._inbox.begin(leftovers, 1)
            self._inbox.flush()

    def _give_up(self, batch: list[Entry]) -> None:
        fault = LocalError(
            f"expected a packet that can be decoded, found one that {MAX_ATTEMPTS} attempts did not finish"
        )
        for packet in self._inbox.read(batch):
            self._set_aside(packet, fault)
        self._inbox.finish(batch)

    def _put_off(self, batch: list[Entry], fault: Exception) -> None:
        """What could not be finished waits again; nothing is lost."""
        leftovers = [entry for entry in batch if entry.leftover]
        self._inbox.begin(leftovers, -1)  # this process has not ended
        if isinstance(fault, SinkError | InboxError | OSError):
            self._metrics.sink_failures.inc()
            self._pause(fault)
            self._waiting.give_back(batch)
            return
        if len(batch) == 1:
            self._pause(fault)
        event("failed", logging.ERROR, packets=len(batch), error=type(fault).__name__, message=str(fault)[:400])
        # Each alone from now on, so that one of them does not take the others with it.
        self._waiting.add(replace(entry, attempts=entry.attempts + 1) for entry in batch)

    def _pause(self, fault: Exception) -> None:
        seconds = self.backoff.failed(fault)
        event("paused", logging.ERROR, seconds=round(seconds, 1), error=type(fault).__name__, message=str(fault)[:400])
        self._waiting.pause(seconds)

    def _report(self, batch: list[Entry], codec: Codec, decoding: float, storing: float) -> None:
        self._metrics.batch.observe(len(batch))
        self._metrics.decode.observe(decoding)
        self._metrics.store.observe(storing)
        now = time.monotonic()
        for entry in batch:
            self._metrics.delivery.observe(now - entry.since)
        event(
            "decoded",
            codec=codec.name,
            packets=len(batch),
            decode_ms=round(1e3 * decoding, 1),
            store_ms=round(1e3 * storing, 1),
        )
