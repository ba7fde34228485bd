"""From the inbox to the sink: workers take batches, decode them, and let packets go when the sink has them.

A packet leaves the inbox in two ways: its files are in the sink, or it is in quarantine. Into quarantine it gets

    by its own status               the decoder says that it is corrupt
    because it ends the service     `MAX_ATTEMPTS` processes that found it there began it and ended without having
                                    finished it, and so does one that only tries it (`trial`); or twice as many,
                                    whatever that one says
    because it fails the decoder    `MAX_ATTEMPTS` times, for a reason that is not this machine's, while another packet
                                    of its codec decodes (`Proofs`)

What is this machine's fault, and no packet's, is never counted: it stays, and is tried again (`trouble`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from latentwire.runtime.contract import Array
from latentwire.runtime.errors import LocalError, RemoteError
from latentwire.runtime.serve.codecs import Codec, Codecs
from latentwire.runtime.serve.errors import SinkError
from latentwire.runtime.serve.inbox import Entry, Inbox, Stored
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.metrics import Metrics
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.render import files_of
from latentwire.runtime.serve.sinks import INBOX_MARK, File, Sink
from latentwire.runtime.serve.trial import ends_its_process
from latentwire.runtime.serve.trouble import Troubles, is_everybodys, is_local
from latentwire.runtime.serve.waiting import Waiting

MAX_ATTEMPTS = 5


class Proofs:
    """For each codec the shortest packet that this process has decoded: while it decodes, the decoder works."""

    def __init__(self) -> None:
        self._packets: dict[bytes, bytes] = {}

    def keep(self, codec: Codec, packet: bytes) -> None:
        """This one has been decoded."""
        if len(packet) < len(self._packets.get(codec.key, packet + b" ")):
            self._packets[codec.key] = packet

    def hold(self, codec: Codec) -> bool:
        """Whether the decoder works at this moment; False also where nothing is known."""
        packet = self._packets.get(codec.key)
        if packet is None:
            return False
        try:
            codec.decoder.decode(packet)
        except Exception:  # of whatever kind: then it is not one packet's
            return False
        return True


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
        self.troubles, self._proofs = Troubles(), Proofs()
        self._is_marked = False
        """Whether the sink is known to say which inbox its content comes from."""
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
        codec = self._codecs[batch[0].codec]
        how = self._hopeless(batch[0], codec)
        if how is not None:
            self._give_up(batch, how)
            return
        try:
            self._count_attempts(batch)
            self._decode(batch, codec)
        except Exception:
            self._inbox.begin([entry for entry in batch if entry.leftover], -1)  # this process has not ended
            raise

    def _decode(self, batch: list[Entry], codec: Codec) -> None:
        stored = self._inbox.read(batch)
        began = time.monotonic()
        decoder = codec.beside if self._waiting.is_crowded else codec.decoder
        results = decoder.decode_each([packet.body for packet in stored])
        decoded = time.monotonic()
        self._store(codec, stored, results)
        self._inbox.finish(batch)
        self._worked(batch)
        self._report(batch, codec, decoded - began, time.monotonic() - decoded)

    def _worked(self, batch: list[Entry]) -> None:
        self.troubles.worked(batch)
        if batch[0].held:
            self._waiting.resume(batch[0].codec)

    def _store(self, codec: Codec, stored: Sequence[Stored], results: Sequence[Array | RemoteError]) -> None:
        files: list[File] = []
        for packet, result in zip(stored, results, strict=True):
            if not isinstance(result, RemoteError):
                self._proofs.keep(codec, packet.body)
                files += files_of(packet, codec, result, self._form)
        if files and not self._is_marked:  # with the first content, and before it
            files.insert(0, File(*INBOX_MARK, f"{self._inbox.id}\n".encode()))
        self._sink.put(files)
        self._is_marked |= bool(files)
        for packet, result in zip(stored, results, strict=True):
            if isinstance(result, RemoteError):
                self._set_aside(packet, result)
        self._metrics.decoded.labels(codec.name).inc(sum(not isinstance(result, RemoteError) for result in results))

    def _set_aside(self, packet: Stored, fault: Exception) -> None:
        """A packet that does not decode: what was accepted is kept, in quarantine."""
        self._quarantine.add(packet.body, fault, packet.envelope, accepted=True)
        reason = type(fault).__name__
        self._metrics.undecodable.labels(reason).inc()
        event("undecodable", logging.WARNING, id=packet.name, error=reason, message=str(fault)[:400])

    def _count_attempts(self, batch: list[Entry]) -> None:
        """A packet may end this process: the next one can tell by the attempts, on the disk before each is made."""
        leftovers = [entry for entry in batch if entry.leftover]
        if leftovers:
            self._inbox.begin(leftovers, 1)
            self._inbox.flush()

    def _hopeless(self, entry: Entry, codec: Codec) -> str | None:
        """Why a packet is not tried any more, where nothing but the packet can be to blame.

        Raises:
            LocalError: this machine is to blame, for now.
        """
        if entry.attempts >= 2 * MAX_ATTEMPTS:
            return f"ended the service {entry.attempts} times"
        if entry.attempts >= MAX_ATTEMPTS:
            (stored,) = self._inbox.read([entry])
            ends = ends_its_process(codec, stored.body)
            event("tried apart", logging.WARNING, id=stored.name, attempts=entry.attempts, ended=str(ends).lower())
            if ends:
                return f"ends each process that decodes it, {entry.attempts} times the service"
        if entry.failures >= MAX_ATTEMPTS and self._proofs.hold(codec):
            return f"failed the decoder {entry.failures} times while others decode"
        return None

    def _give_up(self, batch: list[Entry], how: str) -> None:
        fault = LocalError(f"expected a packet that can be decoded, found one that {how}")
        for packet in self._inbox.read(batch):
            self._set_aside(packet, fault)
        self._inbox.finish(batch)
        self.troubles.gave_up(batch, are_last=not len(self._waiting))

    def _put_off(self, batch: list[Entry], fault: Exception) -> None:
        """What could not be finished waits again; nothing is lost."""
        if is_everybodys(fault):
            self._metrics.sink_failures.inc(isinstance(fault, SinkError))
            seconds = self.troubles.all_failed(fault)
            self._waiting.pause(seconds)
            self._waiting.give_back(batch)
        else:
            name = self._codecs[batch[0].codec].name
            seconds = self.troubles.failed(batch, name, fault)
            self._metrics.decoder_failures.labels(name).inc()
            # A batch of several may only have been too much at once: that says nothing of any one of them.
            counts = len(batch) == 1 and not is_local(fault)
            self._waiting.hold([replace(entry, failures=entry.failures + counts) for entry in batch], seconds)
        event(
            "paused",
            logging.ERROR,
            packets=len(batch),
            seconds=round(seconds, 1),
            error=type(fault).__name__,
            message=str(fault)[:400],
        )

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
