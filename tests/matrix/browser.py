"""A cell in a real browser: serves a page, starts headless Chromium on it and waits for what the page sends back.

python browser.py CHROMIUM encode|decode CORPUS TASKS.json ANSWERS.json PACKETS
"""

import ctypes
import json
import signal
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

JAVASCRIPT = Path(__file__).parent / "javascript"
TYPES = {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm"}
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE = 1800
"""Seconds."""
PR_SET_PDEATHSIG = 1


class Exchange:
    """What the page may read, and what it sends."""

    def __init__(self, job: str, corpus: Path, tasks: Path, pool: Path) -> None:
        self.job, self.corpus, self.tasks, self.pool = job, corpus, tasks, pool
        self.posted: dict[str, bytes] = {}
        self.finished = threading.Event()

    def read(self, path: str) -> tuple[bytes, str]:
        """(Content, type) of a path; FileNotFoundError where there is none."""
        if path == "/task":
            return json.dumps({"job": self.job, "tasks": json.loads(self.tasks.read_text())}).encode(), "text/json"
        if path == "/pool":
            return self.pool.read_bytes(), "application/octet-stream"
        folder, name = (self.corpus, path[8:]) if path.startswith("/corpus/") else (JAVASCRIPT, path[1:])
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise FileNotFoundError(path)
        return file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream")

    def post(self, path: str, body: bytes) -> None:
        """Keep what the page sends; answers or a fault end it."""
        self.posted[path] = body
        if path in ("/answers", "/fault"):
            self.finished.set()


def handler(exchange: Exchange) -> type[BaseHTTPRequestHandler]:
    """The server's side of an exchange."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body, kind = exchange.read(self.path)
            except OSError:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            exchange.post(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def die_with_parent() -> None:
    """For ``preexec_fn``: Linux kills the child when the thread that started it is gone, however it went (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Do what the command line says."""
    chromium, job, corpus, tasks, answers, data = sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:])
    exchange = Exchange(job, corpus, tasks, data)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(exchange))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = f"http://127.0.0.1:{server.server_port}/page.html"
        browser = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", page],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        try:
            if not exchange.finished.wait(PATIENCE):
                sys.exit("the page said nothing")
        finally:
            browser.terminate()
            browser.wait()
    if "/fault" in exchange.posted:
        sys.exit(exchange.posted["/fault"].decode())
    if job == "encode":
        data.write_bytes(exchange.posted["/packets"])
    answers.write_bytes(exchange.posted["/answers"])


if __name__ == "__main__":
    main()
