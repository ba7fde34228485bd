"""What goes wrong on the way is said when it happens: on the terminal, in the log and in lines of JSON."""

import json
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from receiver import Receiver

from latentwire.runtime.send import Bounds, Event, Rate
from latentwire.runtime.send.events import QUIET_SECONDS, Changes
from latentwire.runtime.send.link import Busy, Refused

SOON = 2.0
"""Seconds until it is said that sending fails, from the first packet on."""


class Running:
    """A process `latentwire send`, and what it says, line by line, each with the time when it came."""

    def __init__(self, url: str, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "latentwire.runtime", "send", "mnist", "-", "--raw", "--to", url, *options]
        command += ["--spool", str(folder / "spool"), "--device", "gate-3", "--batch", "1", "--max-backoff", "1"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes)
        self.said: dict[str, list[tuple[float, str]]] = {"stdout": [], "stderr": []}
        self._threads = [threading.Thread(target=self._listen, args=(name,)) for name in self.said]
        for thread in self._threads:
            thread.start()
        self._folder = folder

    def _listen(self, name: str) -> None:
        for line in getattr(self.process, name):
            self.said[name].append((time.monotonic(), line.decode().strip()))

    def started(self) -> None:
        """Wait until it reads stdin: the interpreter and the codec take as long as the machine lets them."""
        end = time.monotonic() + 60
        while not (self._folder / "spool.reserve").exists():
            assert time.monotonic() < end and self.process.poll() is None, self.said
            time.sleep(0.01)

    def put(self) -> float:
        """An item; returns when."""
        self.process.stdin.write(bytes(784))
        self.process.stdin.flush()
        return time.monotonic()

    def until(self, held: Callable[[str], bool], stream: str = "stderr", seconds: float = 20.0) -> tuple[float, str]:
        """The first line that is like that, and when it came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for when, line in list(self.said[stream]):
                if held(line):
                    return when, line
            time.sleep(0.01)
        raise AssertionError(f"expected another line within {seconds} s, found {self.said}")

    def end(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join()
        return code

    def lines(self, stream: str) -> list[str]:
        return [line for _, line in self.said[stream]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def call(url: str, *options: str) -> Running:
        running.append(Running(url, tmp_path, *options))
        running[-1].started()
        return running[-1]

    yield call
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.end()
        each.process.stdout.close()
        each.process.stderr.close()


def test_a_closed_port_and_a_server_that_comes_back_are_said_once_each(start, receiver):
    port = receiver.port
    receiver.close()
    sender = start(f"http://127.0.0.1:{port}", "--json")
    put_at = sender.put()
    when, line = sender.until(lambda line: "sending fails" in line)
    assert when - put_at < SOON and "Connection refused" in line
    for _ in range(3):
        sender.put()
    time.sleep(1.5)
    back = Receiver(port)
    try:
        sender.until(lambda line: "sending works again" in line)
        assert sender.end() == 0 and len(back.packets) == 4
    finally:
        back.close()
    said = sender.lines("stderr")
    assert [line.partition(":")[2][:22] for line in said] == [" packets wait, sending", " sending works again"]
    events = [json.loads(line) for line in sender.lines("stdout")]
    assert [event["event"] for event in events] == ["failing", "working", "status"]
    assert events[0]["level"] == "warning" and "Connection refused" in events[0]["message"]
    assert (events[2]["sent"], events[2]["waiting"], events[2]["last_error"]) == (4, 0, None)


def test_a_certificate_that_nobody_vouches_for_is_said(start, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Receiver(context=context)
    try:
        sender = start(server.url, "--wait", "0")
        put_at = sender.put()
        when, line = sender.until(lambda line: "sending fails" in line)
        assert when - put_at < SOON and "CERTIFICATE_VERIFY_FAILED" in line
        assert sender.end() == 1 and not server.packets
    finally:
        server.close()


def test_a_wrong_token_is_said_with_what_to_do(start, receiver, tmp_path):
    receiver.token = "secret"
    (tmp_path / "token").write_text("other", encoding="ascii")
    sender = start(receiver.url, "--wait", "0", "--json", "--token-file", str(tmp_path / "token"))
    put_at = sender.put()
    when, line = sender.until(lambda line: "sending fails" in line)
    assert when - put_at < SOON and "401" in line and "only a person can change that" in line
    when, line = sender.until(lambda line: '"failing"' in line, "stdout")
    assert when - put_at < SOON and json.loads(line)["level"] == "error"
    assert sender.end() == 1
    *_, status, error = map(json.loads, sender.lines("stdout"))
    assert status["event"] == "status" and status["waiting"] == 1
    assert error["error"]["class"] == "UndeliveredError" and error["error"]["exit_code"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [((), 0), (("--verbose",), 1), (("--log-level", "info"), 1), (("--verbose", "--log-level", "error"), 0)],
    ids=str,
)
def test_that_sending_works_at_first_is_for_who_wants_to_know(start, receiver, options, said):
    sender = start(receiver.url, *options)
    sender.put()
    assert sender.end() == 0
    assert sum("sending works" in line for line in sender.lines("stderr")) == said
    assert sender.lines("stdout") == [] and len(receiver.packets) == 1


def test_a_broker_that_is_not_there_is_said(start):
    sender = start("mqtt://127.0.0.1:9", "--wait", "0")
    put_at = sender.put()
    when, line = sender.until(lambda line: "sending fails" in line)
    assert when - put_at < SOON and "expected a broker" in line and "refused" in line
    assert sender.end() == 1


def test_the_log_and_the_callback_hear_of_every_change(make, receiver, items, caplog):
    heard: list[Event] = []
    receiver.script.extend([(503,), (503,), (429,), "login", None, (503,)])
    receiver.refused = {3, 4}
    with caplog.at_level(logging.INFO, "latentwire.send"):
        sender = make(in_flight=1, on_event=heard.append)
        for item in items[:6]:
            sender.put(item)
        assert sender.flush(20)
    told = [(event.kind, event.level) for event in heard]
    warning, info = logging.WARNING, logging.INFO
    assert told == [
        *[("failing", warning)] * 3,
        ("working", warning),
        ("failing", warning),
        ("working", warning),
        ("refused", warning),
        ("refused", info),
    ]
    ours = [record.getMessage() for record in caplog.records if record.name == "latentwire.send"]
    assert ours == [event.message for event in heard]
    assert "503" in heard[0].message and "429" in heard[1].message and "something else" in heard[2].message


def test_a_packet_that_fails_again_and_again_while_others_arrive_is_said_seldom():
    changes, poison = Changes(), Busy("status 500", is_packets=True, kind="status 500")
    told = []
    for second in range(0, 2 * int(QUIET_SECONDS) + 1):
        told += [event for event in (changes.failed(poison, second), changes.answered()) if event is not None]
    assert len(told) == 6
    gone = Busy("gone", kind="no connection")
    told = [event for _ in range(5) for event in (changes.failed(gone, 500), changes.answered()) if event is not None]
    assert len(told) == 10, "a way that opens and closes is said each time"


def test_what_a_server_says_fills_no_memory():
    changes = Changes()
    for number in range(1000):
        changes.failed(Busy("", is_packets=True, kind=str(number)), 0)
        changes.refused("a", Refused(str(number), ""))
    assert len(changes._quiet_until) < 100 and len(changes._refusals) < 100
    assert changes.refused("a", Refused("new", "")).level == logging.INFO


def test_items_left_out_long_after_they_were_put_are_said(make, receiver, caplog):
    heard: list[Event] = []
    sender = make(batch=5, batch_seconds=0.05, rate=Rate(max_bytes=16), on_event=heard.append)
    sender.put(np.random.default_rng(1).integers(0, 255, 784).astype(np.uint8))
    end = time.monotonic() + 20
    while not heard and time.monotonic() < end:
        time.sleep(0.01)
    assert heard[0].kind == "left out" and "BudgetError" in heard[0].message and sender.status().skipped == 1


def test_who_hears_of_events_cannot_end_sending(make, receiver, items, caplog):
    def fail(_: Event) -> None:
        raise BrokenPipeError("nobody reads")

    receiver.refused = set(range(10))
    sender = make(on_event=fail, in_flight=1)
    for item in items[:12]:
        sender.put(item)
    assert sender.flush(20) and sender.status().sent == 2
    assert "on_event failed" in caplog.text


def test_packets_that_go_are_said_and_not_each_of_them(make, items):
    class Away:
        def deliver(self, _: object) -> Busy:
            return Busy("away")

        def close(self) -> None:
            pass

    heard: list[Event] = []
    sender = make(Away(), bounds=Bounds(1_000), on_event=heard.append)
    for item in items[:20]:
        sender.put(item)
    end = time.monotonic() + 20
    while len(heard) < 2 and time.monotonic() < end:
        time.sleep(0.01)
        sender.put(items[0])
    assert sorted(event.kind for event in heard) == ["dropping", "failing"]
    assert sender.status().dropped > 10
