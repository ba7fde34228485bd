"""The service without its transports: what HTTP and MQTT hand packets to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from latentwire.runtime.bundle import Trust
from latentwire.runtime.serve.again import Returns
from latentwire.runtime.serve.codecs import Codecs
from latentwire.runtime.serve.errors import DrainingError
from latentwire.runtime.serve.inbox import Arrival, Done, Entry, Inbox
from latentwire.runtime.serve.intake import Budget, Intake
from latentwire.runtime.serve.known import ACCEPTED, CONFLICT, DUPLICATE
from latentwire.runtime.serve.logs import event
from latentwire.runtime.serve.metrics import Metrics
from latentwire.runtime.serve.quarantine import Quarantine
from latentwire.runtime.serve.settings import Settings
from latentwire.runtime.serve.sinks import INBOX_MARK, open_sink
from latentwire.runtime.serve.tokens import Tokens
from latentwire.runtime.serve.waiting import Waiting
from latentwire.runtime.serve.worker import Workers
from latentwire.runtime.wire import Keys

AWAY_SECONDS = 10
"""After which a sender tries again when the service ends: its next one may be there."""


class Transport(Protocol):
    """What brings packets beside HTTP."""

    def start(self) -> None:
        """Begin to take packets."""

    def close(self) -> None:
        """Take no more; answer for those that were taken."""

    @property
    def obstacle(self) -> str | None:
        """Why no packets can come; None where they can."""


class Service:
    """Everything between a checked packet and the sink.

    Args:
        settings: the whole service.

    Raises:
        LatentwireError: a codec, the sink, tokens or keys that cannot be used; the subclass says which.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        bounds = settings.bounds
        self.metrics = Metrics()
        self.codecs = Codecs(
            settings.bundles,
            bounds,
            variant=settings.variant,
            providers=settings.providers,
            trust=Trust(signed_by=settings.signed_by),
        )
        self.tokens = None if settings.tokens is None else Tokens(settings.tokens)
        self.readers = None if settings.readers is None else Tokens(settings.readers)
        self._sink = open_sink(settings.sink)
        self._quarantine = Quarantine(settings.quarantine, bounds.quarantine_packets, bounds.quarantine_bytes)
        keys = None if settings.keys is None else Keys.load(settings.keys)
        self.intake = Intake(self.codecs, keys, self._quarantine, self.metrics, bounds)
        self.memory = Budget(bounds.memory_bytes)
        self._transports: list[Transport] = []
        self._draining = self._started = False

    def attach(self, transport: Transport) -> None:
        """A transport that begins and ends with the service."""
        self._transports.append(transport)

    def start(self) -> None:
        """Open the inbox and go on with what waits there.

        Raises:
            InboxError: it cannot be opened, or another service has it.
        """
        if self._started:
            return
        settings, bounds = self.settings, self.settings.bounds
        self._waiting = Waiting(settings.threads, bounds.batch_packets, bounds.latency_ms / 1000, bounds.work_bytes)
        self.inbox = Inbox(
            settings.inbox,
            bounds.inbox_packets,
            bounds.inbox_bytes,
            self._stored,
            anew=settings.new_inbox,
            had_content=self._sink_tells,
        )
        self.metrics.watch(self.inbox)
        self._workers = Workers(
            settings.threads,
            self._waiting,
            self.inbox,
            self.codecs,
            self._sink,
            self._quarantine,
            self.metrics,
            settings.form,
        )
        self._workers.start()
        self._returns = Returns(settings.inbox, self.inbox, self.intake, self._quarantine)
        self._returns.start()
        for transport in self._transports:
            transport.start()
        self._started = True
        event("started", codecs=", ".join(codec.name for codec in self.codecs), waiting=self.inbox.packets)

    def _sink_tells(self) -> str | None:
        return "the sink's _inbox/id" if self._sink.has(INBOX_MARK) else None

    def _stored(self, entries: list[Entry]) -> None:
        """Packets of codecs that were served before stay where they are until they are served again."""
        known = [entry for entry in entries if entry.codec in self.codecs]
        if len(known) < len(entries):
            event("parked", packets=len(entries) - len(known))
        self._waiting.add(known)

    def check_accepting(self) -> None:
        """The service takes packets.

        Raises:
            DrainingError: it is about to end.
        """
        if self._draining:
            raise DrainingError(
                "expected a service that takes packets, found one that ends: send them later", AWAY_SECONDS
            )

    def offer(self, arrivals: Sequence[Arrival], done: Done) -> None:
        """Have packets made durable; see `Inbox.offer`.

        Raises:
            BusyError: there is no room, or the service ends.
        """
        self.check_accepting()
        self.inbox.offer(arrivals, done)

    async def accept(self, arrivals: Sequence[Arrival]) -> list[str]:
        """Have packets made durable; "accepted", "duplicate" or "conflict" for each.

        Raises:
            BusyError: as in `offer`.
            InboxError: they cannot be written.
        """
        if not arrivals:
            return []
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def resolve(outcome: list[str] | Exception) -> None:
            if answer.cancelled():
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        def tell(outcome: list[str] | Exception) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits for the answer
                loop.call_soon_threadsafe(resolve, outcome)

        self.offer(arrivals, tell)
        statuses = await answer
        self.count(arrivals, statuses)
        return statuses

    def count(self, arrivals: Sequence[Arrival], statuses: Sequence[str]) -> None:
        """Count what was accepted, and say it."""
        for arrival, status in zip(arrivals, statuses, strict=True):
            if status == ACCEPTED:
                self.metrics.accepted.labels(self.codecs[arrival.codec].name).inc()
            elif status == DUPLICATE:
                self.metrics.duplicate.inc()
            else:
                self.metrics.conflict.inc()
                event("conflict", logging.WARNING, id=arrival.name)
        if statuses.count(CONFLICT) == len(statuses):
            return
        event("accepted", id=arrivals[0].name, packets=statuses.count(ACCEPTED), duplicates=statuses.count(DUPLICATE))

    @property
    def obstacles(self) -> list[str]:
        """Why the service is not ready; empty where it is."""
        found = ["draining"] if self._draining else []
        if self.inbox.is_full:
            found.append("inbox: full")
        if self.inbox.fault is not None:
            found.append(f"inbox: {self.inbox.fault}")
        found += self._workers.troubles.texts
        files = [tokens.obstacle for tokens in (self.tokens, self.readers) if tokens is not None]
        found += [obstacle for obstacle in files if obstacle is not None]
        return found + [transport.obstacle for transport in self._transports if transport.obstacle is not None]

    def drain(self) -> None:
        """Take no more packets and finish what is in work; what waits stays in the inbox."""
        if self._draining:
            return
        self._draining = True
        for transport in self._transports:
            transport.close()
        self._returns.close()
        finished = self._workers.stop(self.settings.bounds.drain_seconds)
        event("drained", waiting=self.inbox.packets, finished=str(finished).lower())

    def close(self) -> None:
        """Drain, and close the inbox."""
        if self._started:
            self.drain()
            self.inbox.close()
            self._sink.close()
            self._started = self._draining = False
