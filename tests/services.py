"""Services that really run: in a thread of the test, or as a process of their own."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.routing import BaseRoute

from latentwire.runtime.serve.http import create_app
from latentwire.runtime.serve.server import Server
from latentwire.runtime.serve.settings import Bounds, Settings
from latentwire.runtime.wire.envelope import Envelope

BYTES = {"Content-Type": "application/octet-stream"}
SPOOL = "0123456789abcdef" * 2

SMALL = Bounds(
    packet_bytes=1 << 16,
    body_bytes=1 << 17,
    memory_bytes=1 << 20,
    output_bytes=1 << 20,
    header_seconds=1,
    body_seconds=1,
    connections=32,
    quarantine_packets=200,
)
"""Everything small, so that its bounds are soon reached."""


def envelope(sequence: int = 0, device: str = "gate-3", **more: Any) -> Envelope:
    return Envelope(device, SPOOL, sequence, **more)


def answer(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@dataclass
class Running:
    """A service that listens."""

    url: str
    folder: Path
    client: httpx.Client
    process: subprocess.Popen[bytes] | None = None
    server: Server | None = None

    @property
    def sink(self) -> Path:
        return self.folder / "sink"

    def files(self, suffix: str) -> dict[str, bytes]:
        """What is in the sink, by its path there."""
        found = {path: path for path in self.sink.rglob(f"*{suffix}")}
        return {path.relative_to(self.sink).as_posix(): path.read_bytes() for path in found}

    def post(self, body: bytes, packet: Envelope | None = None, **headers: str) -> httpx.Response:
        named = {} if packet is None else packet.to_headers()
        return self.client.post("/v1/packets", content=body, headers=BYTES | named | headers)

    def metric(self, name: str) -> float:
        """The sum of a metric's values over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)


@contextmanager
def in_thread(
    folder: Path, bundles: tuple[str, ...] = ("mnist",), routes: Sequence[BaseRoute] = (), **settings: Any
) -> Iterator[Running]:
    """A service in a thread, under uvicorn as `latentwire serve` sets it up."""
    if "tokens" not in settings:
        settings["open_to_all"] = True
    found = Settings(bundles, settings.pop("sink", str(folder / "sink")), folder / "inbox", port=0, **settings)
    app = create_app(found, routes)
    server = Server(app, found)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Running(url, folder, client, server=server)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def in_process(
    folder: Path,
    *options: str,
    codecs: tuple[str, ...] = ("mnist",),
    verify: ssl.SSLContext | bool = True,
    start: Sequence[str] = ("-m", "latentwire.runtime"),
) -> Iterator[Running]:
    """`latentwire serve` as a process of its own."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("ab") as log:
        begins = log.tell()
        command = [sys.executable, *start, "serve", *codecs, "--sink", str(folder / "sink")]
        command += ["--inbox", str(folder / "inbox"), "--port", "0", *options]
        command += [] if {"--tokens", "--demo", "--no-auth"} & set(options) else ["--no-auth"]
        process = subprocess.Popen(command, stderr=log, cwd=folder)
    try:
        until(lambda: process.poll() is not None or "url" in last_event(folder / "log", begins, "listening"))
        url = last_event(folder / "log", begins, "listening")["url"]
        with httpx.Client(base_url=url, timeout=60, verify=verify) as client:
            yield Running(url, folder, client, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def events(log: Path, begins: int = 0) -> list[dict[str, Any]]:
    """What a service has logged: every line is one JSON object."""
    text = log.read_bytes()[begins:]
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def last_event(log: Path, begins: int, name: str) -> dict[str, Any]:
    return next((found for found in reversed(events(log, begins)) if found["event"] == name), {})
