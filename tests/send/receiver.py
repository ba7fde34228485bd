"""A small HTTP server that answers packets as the interface says, and misbehaves when it is told to."""

import json
import ssl
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from latentwire.runtime.wire.envelope import Envelope


class Receiver:
    """What arrived, by (spool, sequence), and what is to go wrong next.

    ``script`` holds what the next requests meet: a status with headers, or "drop" (the connection is closed after the
    packet was kept), "lose" (closed before), "login" (a 200 of something else), or seconds to wait.
    """

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.packets: dict[tuple[str, int], bytes] = {}
        self.envelopes: dict[tuple[str, int], Envelope] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self.arrivals: list[tuple[float, int]] = []
        self.script: deque[object] = deque()
        self.refused: set[int] = set()
        self.failing: set[int] = set()
        self.token: str | None = None
        self.most_at_once = self._at_once = 0
        self.connections = 0
        self._lock = threading.Lock()
        handler = type("Bound", (_Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = False
        self.port = self._server.server_address[1]
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def enter(self) -> object:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.script.popleft() if self.script else None

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def keep(self, envelope: Envelope, body: bytes) -> str:
        key = (envelope.spool, envelope.sequence)
        with self._lock:
            before = self.packets.get(key)
            if before not in (None, body):
                return "conflict"
            self.packets[key], self.envelopes[key] = body, envelope
            self.times[key] += 1
            self.arrivals.append((time.monotonic(), len(body)))
            return "accepted" if before is None else "duplicate"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    receiver: Receiver
    timeout = 5

    def setup(self) -> None:
        super().setup()
        self.receiver.connections += 1

    def do_POST(self) -> None:
        order = self.receiver.enter()
        try:
            self.answer(order)
        finally:
            self.receiver.leave()

    def answer(self, order: object) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):  # the sender was killed on the way
            self.close_connection = True
            return
        envelope = Envelope.from_headers(self.headers)
        assert self.path == "/v1/packets" and self.headers["Content-Type"] == "application/octet-stream"
        if isinstance(order, float):
            time.sleep(order)
        if order == "drop":
            self.receiver.keep(envelope, body)
        if order in ("drop", "lose"):
            self.close_connection = True
        elif order == "login":
            self.say(200, {}, b"<html>please log in</html>")
        elif isinstance(order, tuple):
            self.say(*order)
        elif self.receiver.token is not None and self.headers["Authorization"] != f"Bearer {self.receiver.token}":
            self.say(401)
        elif envelope.sequence in self.receiver.refused:
            told = {"status": "refused", "id": envelope.id, "error": "CodecError", "message": "expected another codec"}
            self.say(422, {}, json.dumps(told).encode())
        elif envelope.sequence in self.receiver.failing:
            self.say(500)
        else:
            status = self.receiver.keep(envelope, body)
            told = {"id": envelope.id, "status": status, "message": "another packet has this name"}
            self.say(409 if status == "conflict" else 202, {}, json.dumps(told).encode())

    def say(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"{}") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
