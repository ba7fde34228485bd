"""Thousands of connections that say nothing: who sends is served meanwhile, and nothing grows for it."""

import json
import logging
import os
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from certificates import certificate
from services import BYTES, Running, envelope, events, in_process, in_thread, until

from latentwire.runtime.serve.logs import Burst
from latentwire.runtime.serve.places import Place, Places, site_of
from latentwire.runtime.serve.server import DESCRIPTORS
from latentwire.runtime.serve.settings import Bounds
from latentwire.runtime.serve.tokenfile import draw

CROWD = 1500
OTHER = "127.0.0.9"
"""This machine under another address."""
MAIN = "from latentwire.runtime.cli import main; main(sys.argv[1:])"

FEW = "resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))"

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")


def taken(places: Places, site: str) -> tuple[Place, list[str]]:
    """A place, and a list that says when it is closed."""
    place, _ = places.take(site)
    assert place is not None
    said: list[str] = []
    place.close = lambda: said.append("closed")
    return place, said


def test_the_longest_waiting_of_the_fullest_site_gives_way():
    places = Places(4)
    (_, lone), (worker, at_work) = taken(places, "a"), taken(places, "b")
    places.work(worker)
    (_, first), (_, second) = taken(places, "b"), taken(places, "b")
    assert len(places) == 4 and not first
    taken(places, "c")
    assert (lone, at_work, first, second) == ([], [], ["closed"], [])
    places.wait(worker)  # two of b wait again, the worker behind the other
    taken(places, "c")
    assert (lone, at_work, second) == ([], [], ["closed"]) and len(places) == 4


def test_who_is_at_work_never_gives_way():
    places = Places(2)
    held = [taken(places, "a"), taken(places, "a")]
    for place, _ in held:
        places.work(place)
    assert places.take("b") == (None, None) and not any(said for _, said in held)
    places.free(held[0][0])
    place, gone = places.take("b")
    assert place is not None and gone is None
    places.free(place)
    places.wait(place)  # it has ended: it must not come back
    assert place not in places and len(places) == 1


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_sites(address: str, site: str):
    assert site_of(address) == site


def test_of_one_kind_a_burst_is_written_then_one_line_a_second_that_counts_the_rest():
    now = 0.0
    burst = Burst(3, lambda: now)

    def written(name: str, level: int = logging.WARNING) -> dict[str, int] | None:
        record = logging.LogRecord("serve", level, "", 0, name, None, None)
        return getattr(record, "facts", {}) if burst.filter(record) else None

    assert [written("a") for _ in range(10)] == [{}] * 3 + [None] * 7
    assert written("b") == {} and [written("a", logging.INFO) for _ in range(9)] == [{}] * 9
    now = 1.0
    assert written("a") == {"logger": "serve", "left_out": 7} and written("a") is None
    now = 100.0
    assert written("a") == {"logger": "serve", "left_out": 1}
    assert [written(f"other {number}") is not None for number in range(600)].count(True) < 300


def descriptors(running: Running) -> int:
    assert running.process is not None
    return len(os.listdir(f"/proc/{running.process.pid}/fd"))


def silent(running: Running, stack: ExitStack, count: int, source: str) -> None:
    """Connections that are opened and say nothing."""
    parts = urlsplit(running.url)
    for _ in range(count):
        stack.enter_context(socket.create_connection((parts.hostname, parts.port), 20, (source, 0)))


def answers(running: Running, context: ssl.SSLContext, packet: bytes, token: str, seconds: float) -> list[float]:
    """How long a device waits for each answer, over a connection of its own each time, for so many seconds."""
    found, end = [], time.monotonic() + seconds
    headers = BYTES | {"Authorization": f"Bearer {token}"} | envelope().to_headers()
    while time.monotonic() < end:
        began = time.monotonic()
        answer = httpx.post(f"{running.url}/v1/packets", content=packet, headers=headers, verify=context, timeout=20)
        assert answer.status_code == 202
        found.append(time.monotonic() - began)
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    """What the log says of connections."""
    return [found for found in events(folder / "log") if found["event"] == "connections"]


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many descriptors for this process as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_proc
@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("source", ["127.0.0.1", OTHER])
def test_a_device_is_answered_while_1500_connections_say_nothing(tmp_path: Path, packet: bytes, source: str):
    chain, key = certificate(tmp_path)
    token = draw(tmp_path / "tokens", "gate-3")
    options = ["--certificate", str(chain), "--key", str(key), "--tokens", str(tmp_path / "tokens")]
    context = ssl.create_default_context(cafile=str(chain))
    with in_process(tmp_path, *options, verify=context) as running, ExitStack() as stack:
        usual = max(answers(running, context, packet, token, 0.5))
        before = descriptors(running)
        silent(running, stack, CROWD, source)
        assert max(answers(running, context, packet, token, 3)) < max(2, 10 * usual)
        assert descriptors(running) < before + Bounds.connections + 20
        until(lambda: descriptors(running) <= before + 5, 2 * Bounds.handshake_seconds + 5)
        assert max(answers(running, context, packet, token, 0.5)) < max(2, 10 * usual)
        # Nobody is counted twice, and nobody is left out.
        until(lambda: sum(said.get("gave_way", 0) + said.get("silent", 0) for said in lines(tmp_path)) >= CROWD, 5)
        assert running.metric("latentwire_connections_dropped_total") == CROWD
    said = lines(tmp_path)
    assert sum(found.get("gave_way", 0) + found.get("silent", 0) for found in said) == CROWD
    assert len((tmp_path / "log").read_bytes()) < 50_000 and "Traceback" not in (tmp_path / "log").read_text()
    assert len(said) <= 2 * Bounds.handshake_seconds + 10


def test_who_cannot_be_given_a_descriptor_costs_no_more_than_a_line(tmp_path: Path, packet: bytes):
    few = f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90)); {MAIN}"
    with in_process(tmp_path, "--no-auth", start=["-c", few]) as running, ExitStack() as stack:
        silent(running, stack, 200, "127.0.0.1")
        time.sleep(1)
        stack.close()
        until(lambda: running.post(packet, envelope()).status_code == 202, 15)
    log = (tmp_path / "log").read_text()
    assert len(log) < 20_000 and "Traceback" not in log
    found = events(tmp_path / "log")
    assert any(line["event"] == "descriptors" and line["found"] == 90 for line in found)
    assert any(line["event"] == "connections" and line.get("no_descriptor") for line in found)


@needs_proc
def test_as_many_descriptors_are_asked_for_as_the_bounds_need(tmp_path: Path):
    few = f"import resource, sys; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; {FEW}; {MAIN}"
    with in_process(tmp_path, "--no-auth", start=["-c", few]) as running:
        assert running.process is not None
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        assert int(limits.partition("Max open files")[2].split()[0]) == Bounds.connections + DESCRIPTORS
    assert not any(found["event"] == "descriptors" for found in events(tmp_path / "log"))


def test_an_answer_that_is_being_made_is_not_given_up_for_a_crowd(tmp_path: Path, packet: bytes):
    bounds = Bounds(connections=4, header_seconds=2, body_seconds=5)
    with in_thread(tmp_path, bounds=bounds) as running, ExitStack() as stack:
        parts = urlsplit(running.url)
        slow = stack.enter_context(socket.create_connection((parts.hostname, parts.port), 20))
        head = f"POST /v1/packets HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(packet)}\r\n"
        slow.sendall(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + packet[:9])
        time.sleep(0.2)
        silent(running, stack, 30, "127.0.0.1")
        slow.sendall(packet[9:])
        found = b"".join(iter(lambda: slow.recv(4096), b""))
        assert found.startswith(b"HTTP/1.1 202 ")
        assert json.loads(found.partition(b"\r\n\r\n")[2])["status"] == "accepted"


@pytest.mark.parametrize(("said", "reason"), [(b"", "silent"), (b"\x16\x03\x01", "handshakes_slow")])
def test_a_handshake_that_does_not_begin_or_end_is_left(tmp_path: Path, said: bytes, reason: str):
    chain, key = certificate(tmp_path)
    bounds = Bounds(handshake_seconds=1, header_seconds=30)
    with in_thread(tmp_path, bounds=bounds, certificate=chain, key=key) as running:
        assert running.server is not None
        registry, port = running.server.service.metrics.registry, urlsplit(running.url).port
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 20) as slow:
            slow.sendall(said)
            assert slow.recv(1) == b""
        assert 0.9 < time.monotonic() - began < 3
        until(lambda: registry.get_sample_value("latentwire_connections_dropped_total", {"reason": reason}) == 1, 2)
        assert len(running.server.places) == 0
