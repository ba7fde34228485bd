"""A proxy between devices and the service that does its work, or answers by itself, or is not there."""

from __future__ import annotations

import contextlib
import socket
import threading

PAGE = b"<html><body><h1>The proxy says no</h1></body></html>"
STATUSES = ("400 Bad Request", "413 Payload Too Large", "415 Unsupported Media Type", "502 Bad Gateway")


class Proxy:
    """Listens on a free port of this machine.

    Args:
        upstream: port of the service.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream, self.mode, self.answers = upstream, "pass", 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """From now on: `pass`, `html` (an answer of its own) or `gone` (every connection is closed)."""
        self.mode = mode
        with self._lock:
            kept, self._open = self._open, set()
        for connection in kept:
            _close(connection)

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self.mode
        with contextlib.suppress(OSError):
            if mode == "pass":
                self._forward(client)
            elif mode == "html":
                self._answer(client)
        _close(client)

    def _forward(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.upstream), timeout=5)
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        _close(server)

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(5)
        request = b""
        while b"\r\n\r\n" not in request and (more := client.recv(1 << 16)):
            request += more
        status = STATUSES[self.answers % len(STATUSES)]
        self.answers += 1
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\nConnection: close\r\n\r\n"
        )
        client.sendall(head.encode() + PAGE)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
