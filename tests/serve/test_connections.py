"""Clients that are slow, many, or say too much."""

import json
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

import numpy as np
import pytest
from services import SMALL, Running, answer, in_thread, until

from latentwire.runtime import Encoder

ANSWERS = 20
"""Of 0.9 MB each: more than the two ends of a connection buffer."""
HEAD = b"POST /v1/packets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    with in_thread(tmp_path_factory.mktemp("slow"), ("mnist", "photo"), bounds=SMALL) as found:
        yield found


def connect(running: Running) -> socket.socket:
    parts = urlsplit(running.url)
    found = socket.create_connection((parts.hostname, parts.port))
    found.settimeout(20)
    return found


def test_a_client_that_sends_its_headers_byte_by_byte_is_left(running: Running):
    began = time.monotonic()
    with connect(running) as slow:
        for byte in HEAD + b"X: " + b"y" * 1000:
            try:
                slow.sendall(bytes([byte]))
            except OSError:
                break
            if time.monotonic() - began > 10:
                break
            time.sleep(0.05)
    assert time.monotonic() - began < 3 * SMALL.header_seconds


def test_a_client_that_says_nothing_is_left(running: Running):
    began = time.monotonic()
    with connect(running) as silent:
        assert answer(silent) == b""
    assert SMALL.header_seconds * 0.9 < time.monotonic() - began < 3 * SMALL.header_seconds


def test_a_body_that_does_not_come_is_answered_408(running: Running, packet: bytes):
    for length in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"):
        with connect(running) as slow:
            slow.sendall(HEAD + length)
            found = answer(slow)
        assert found.startswith(b"HTTP/1.1 408 ") and b"SlowBodyError" in found
    assert running.post(packet).status_code == 202


def test_slow_clients_do_not_hold_up_others(running: Running, packet: bytes):
    crowd = [connect(running) for _ in range(20)]
    for slow in crowd:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\nx")
    began = time.monotonic()
    assert running.post(packet).status_code == 202
    assert time.monotonic() - began < 0.9 * SMALL.body_seconds
    for slow in crowd:
        slow.close()


def test_headers_without_end_are_refused(running: Running):
    with connect(running) as connection:
        connection.sendall(HEAD)
        try:
            for number in range(400):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))
        except OSError:
            pass
        found = answer(connection)
    assert not found or json.loads(found.partition(b"\r\n\r\n")[2])["error"] == "RequestError"


def test_connections_beyond_the_bound_are_closed(running: Running, packet: bytes):
    crowd = [connect(running) for _ in range(SMALL.connections + 10)]
    closed = 0
    for connection in crowd:
        connection.settimeout(0.05)
        with suppress(TimeoutError):
            closed += connection.recv(1) == b""
    assert closed >= 10
    for connection in crowd:
        connection.close()
    time.sleep(0.2)
    assert running.post(packet).status_code == 202


def test_an_oversize_body_is_answered_although_the_client_goes_on_sending(running: Running):
    with connect(running) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n" + bytes(1 << 20))
        began = time.monotonic()
        found = answer(connection)
    assert found.startswith(b"HTTP/1.1 413 ") and time.monotonic() - began < 5


def test_a_client_that_does_not_read_its_answers_is_left(running: Running, photo: Encoder):
    packet = photo.encode(np.full((500, 600, 3), 77, np.uint8), 0)
    asked = HEAD + b"Accept: application/x-npy\r\nContent-Length: %d\r\n\r\n" % len(packet)
    assert running.server is not None
    before = set(running.server.server_state.connections)
    with connect(running) as lazy:
        lazy.sendall((asked + packet) * ANSWERS)
        until(lambda: set(running.server.server_state.connections) - before)
        until(lambda: not set(running.server.server_state.connections) - before, 15)
    assert running.client.get("/readyz").status_code == 200
