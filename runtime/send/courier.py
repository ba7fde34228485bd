"""Carries what waits in the spool to the server: several packets at once, within a bandwidth, patiently.

Carriers go round: take the next packet, deliver it, sort its answer. The clerk notes answers in the spool, together all
that came while the disk was busy. Packets are taken in the order of sequences, and behind the last one from the
beginning again: what failed has its turn then.

    Accepted    the packet leaves the spool, once the clerk's change is on the disk
    Refused     it stays there, set aside with the reason, and is not sent again
    Conflict    it gets another name (`Spool.rename`) and waits for its next turn; the second time for one packet also
                behind a pause, so that a server which says nothing else is asked seldom
    Busy        it waits: nothing is taken before the pause is over, then one packet alone until one arrives. The same
                packet is the first one, unless it may itself be the reason: then it goes behind the others

The pause is `rate.Backoff`'s: what the server asked for (`Retry-After`, which a link puts into `Busy`), and on top a
random part of a time that doubles with each failure.

A packet is on its way once at a time: from `_take` until its answer is in the spool. While the disk does not take the
answer, it is not sent again, and after `MAX_ANSWERS` of these nothing is. A spool that is damaged ends everything, and
`fault` says why.

Nothing is kept here: a kill at any point leaves the packet in the spool until its answer was noted there, and the next
process sends it again under the same name. The server calls it a duplicate if it had it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from latentwire.runtime.send.errors import SpoolDamagedError, SpoolError
from latentwire.runtime.send.events import Changes, Event
from latentwire.runtime.send.link import Accepted, Answer, Busy, Conflict, Link, Parcel, Refused, Verdict
from latentwire.runtime.send.rate import Backoff, TokenBucket
from latentwire.runtime.send.spool import Spool
from latentwire.runtime.wire import Envelope

RETRY_DISK_SECONDS = 1.0
MAX_ANSWERS = 1 << 10
"""That wait for the disk before no more is sent."""
JOIN_SECONDS = 1.0
"""That `close` waits for a thread which waits for the server; it ends with the process, its packet is in the spool."""


class Courier:
    """Threads between a spool and a link; each delivers one packet at a time, and one notes the answers in the spool.

    After a failure only one packet is on its way, until one arrives. A packet that may itself be the reason goes behind
    the others.

    Args:
        spool: what waits.
        link: how it is sent.
        in_flight: packets on their way at once.
        bucket: bandwidth; None for all there is.
        backoff: waits after failures.
        reseal: packet, another envelope -> its body under that; see `Spool.rename`.
        hear: is told what happens, one event at a time, from any thread.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        spool: Spool,
        link: Link,
        *,
        in_flight: int,
        bucket: TokenBucket | None = None,
        backoff: Backoff | None = None,
        reseal: Callable[[Parcel, Envelope], bytes] = lambda parcel, _: parcel.body,
        hear: Callable[[Event], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._link, self._clock = spool, link, clock
        self._bucket, self._backoff, self._reseal, self._hear = bucket, backoff or Backoff(), reseal, hear
        self._lock = threading.Lock()
        self._work, self._answered, self._settled = (threading.Condition(self._lock) for _ in range(3))
        self._cursor, self._carried, self._resume_at, self._closing = -1, 0, 0.0, False
        self._ready: deque[Parcel] = deque()
        self._on_their_way: set[int] = set()
        """Until their answer is noted."""
        self._answers: list[tuple[Envelope, Verdict]] = []
        """To be noted: all that come while the disk is busy share one transaction."""
        self._renamed: set[int] = set()
        """Packets that were in conflict once."""
        self._changes, self._events, self._telling = Changes(), deque[Event](), threading.Lock()
        self.last_error: str | None = None
        """What came last instead of an acknowledgement; None since one came."""
        self.fault: SpoolError | None = None
        """Why nothing is sent any more."""
        self._in_flight = in_flight
        self._carriers = [self._thread(self._carry) for _ in range(in_flight)]
        self._clerk = self._thread(self._note)

    def wake(self) -> None:
        """There is a new packet in the spool."""
        with self._lock:
            self._work.notify()

    def gone(self) -> None:
        """Packets have left the spool without an answer."""
        with self._lock:
            self._settled.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing waits in the spool; false if the time was too short, or nothing is sent any more."""
        end = self._clock() + timeout
        with self._lock:
            while self.fault is None and self._spool.totals().waiting:
                left = end - self._clock()
                if left <= 0 or self._closing:
                    return False
                self._settled.wait(left)
        return self.fault is None

    def close(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._closing = True
            self._work.notify_all()
        self._link.close()
        for thread in self._carriers:
            thread.join(JOIN_SECONDS)
        with self._lock:
            self._answered.notify_all()
        self._clerk.join(JOIN_SECONDS)

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(work,), name="latentwire-send", daemon=True)
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None]) -> None:
        """Work; when the spool cannot be used any more, all ends."""
        try:
            work()
        except SpoolError as fault:
            with self._lock:
                if not self._closing:
                    self.fault, self.last_error, self._closing = fault, str(fault), True
                    self._events.append(Event("broken", f"nothing is sent any more: {fault}", logging.ERROR))
                for condition in (self._work, self._answered, self._settled):
                    condition.notify_all()
            self._tell()

    def _tell(self) -> None:
        """Say what has happened; not with the lock, whoever hears it may take a while."""
        with self._telling:
            while self._events:
                self._hear(self._events.popleft())

    def _carry(self) -> None:
        while (parcel := self._take()) is not None:
            self._settle(parcel.envelope, self._link.deliver(parcel))
            self._tell()

    def _take(self) -> Parcel | None:
        """The next packet, when it may be sent; None when nothing is to be sent any more."""
        with self._lock:
            while not self._closing:
                delay = self._delay()
                parcel = self._next() if delay == 0 else None
                if parcel is not None:
                    self._on_their_way.add(parcel.envelope.sequence)
                    self._carried += 1
                    if self._bucket is not None:
                        self._bucket.spend(parcel.size)
                    return parcel
                self._work.wait(delay or None)
            return None

    def _delay(self) -> float | None:
        """Seconds until a packet may be sent; None where that needs an answer first."""
        if (self._backoff.failures and self._carried) or len(self._answers) >= MAX_ANSWERS:
            return None
        now = self._clock()
        pause = 0.0 if self._bucket is None else self._bucket.delay(now)
        return max(0.0, self._resume_at - now, pause)

    def _next(self) -> Parcel | None:
        """The packet after the last one, or, behind the end, the first one."""
        if not self._ready:
            self._refill()
        if not self._ready and self._cursor >= 0:
            self._cursor = -1
            self._refill()
        if not self._ready:
            return None
        parcel = self._ready.popleft()
        self._cursor = parcel.envelope.sequence
        return parcel

    def _refill(self) -> None:
        found = self._spool.waiting(self._cursor, self._in_flight + len(self._on_their_way))
        self._ready.extend(parcel for parcel in found if parcel.envelope.sequence not in self._on_their_way)

    def _settle(self, envelope: Envelope, answer: Answer) -> None:
        with self._lock:
            self._carried -= 1
            failed_before = self._backoff.failures
            if isinstance(answer, Busy):
                self._on_their_way.discard(envelope.sequence)
                self._fall_back(envelope.sequence, answer)
            else:
                self._answers.append((envelope, answer))
                self._settled_by(envelope, answer)
                self._answered.notify()
            if failed_before or self._backoff.failures:
                self._work.notify_all()  # how long they wait has changed

    def _settled_by(self, envelope: Envelope, answer: Verdict) -> None:
        """The server is there; what it says last is what `last_error` says."""
        self._say(self._changes.answered())
        self.last_error = None
        if isinstance(answer, Refused):
            self.last_error = f"{answer.error}: {answer.message}"
            self._say(self._changes.refused(envelope.id, answer))
        if isinstance(answer, Conflict):
            self.last_error = f"expected a name that is free for {envelope.id}, found another packet: {answer.message}"
        if isinstance(answer, Accepted):
            self._renamed.discard(envelope.sequence)
        elif isinstance(answer, Conflict) and envelope.sequence in self._renamed:
            self._resume_at = self._clock() + self._backoff.failed()
            return
        self._backoff.succeeded()
        self._resume_at = 0.0

    def _say(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(event)

    def _note(self) -> None:
        """Note answers in the spool, until there are none and all ends."""
        while True:
            with self._lock:
                self._answered.wait_for(lambda: self._answers or self._closing)
                answers, self._answers = self._answers, []
            if not answers:
                return
            self._keep(answers)
            with self._lock:
                self._on_their_way.difference_update(envelope.sequence for envelope, _ in answers)
                self._work.notify_all()
                self._settled.notify_all()
            self._tell()

    def _keep(self, answers: Sequence[tuple[Envelope, Verdict]]) -> None:
        """As soon as the disk takes it; until then these packets are not sent again."""
        left = deque((envelope, answer) for envelope, answer in answers if not isinstance(answer, Accepted))
        while True:
            try:
                while left:
                    self._set_aside(*left[0])
                    left.popleft()
                self._spool.remove([envelope.sequence for envelope, answer in answers if isinstance(answer, Accepted)])
                return
            except SpoolDamagedError:
                raise
            except SpoolError as fault:
                with self._lock:
                    self.last_error = str(fault)
                    if self._answered.wait_for(lambda: self._closing, RETRY_DISK_SECONDS):
                        raise

    def _set_aside(self, envelope: Envelope, answer: Verdict) -> None:
        """A packet that stays in the spool, refused or under another name."""
        if isinstance(answer, Refused):
            self._spool.refuse(envelope.sequence, answer.error, answer.message)
            return
        spool = self._spool.rename(envelope.sequence, self._reseal)
        with self._lock:
            self._renamed.add(envelope.sequence)
            self._say(self._changes.renamed(envelope.id, spool))

    def _fall_back(self, sequence: int, answer: Busy) -> None:
        """Wait; then the same packet is the first one again, unless it may itself be the reason."""
        self.last_error = answer.message
        self._say(self._changes.failed(answer, self._clock()))
        wait = self._backoff.failed(answer.retry_after, needs_hand=answer.needs_hand)
        self._resume_at = max(self._resume_at, self._clock() + wait)
        self._ready.clear()
        if not answer.is_packets:
            self._cursor = min(self._cursor, sequence - 1)
