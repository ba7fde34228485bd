"""Headless Chromium, driven over the DevTools protocol through two pipes: nothing but the standard library.

    with Chromium(program) as browser:
        page = browser.open("http://127.0.0.1:8000/")
        page.wait("document.title !== ''")

The protocol is https://chromedevtools.github.io/devtools-protocol/; messages are JSON, each ends with a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from matrix.browser import FLAGS

KEYS = {"End": 35, "Home": 36, "ArrowRight": 39}
"""What the protocol wants beside a key's name."""
PATIENCE = 60.0
"""Seconds; a busy machine needs some of them to compile onnxruntime-web."""


class DevtoolsError(Exception):
    """The browser refused a command, a script threw, or nothing came in time."""


class Quiet(SimpleHTTPRequestHandler):
    """Files, and nothing on stderr."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a folder over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Chromium:
    """A browser with a profile of its own, gone when the block ends.

    Args:
        program: path of Chromium.
        flags: more of them.
    """

    def __init__(self, program: str, flags: Sequence[str] = ()) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self.outgoing = os.pipe()
        self.incoming, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        plumbing = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [program, *FLAGS, *flags, "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        self.process = subprocess.Popen(
            ["bash", "-c", plumbing, "bash", *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.pending = b""
        self.last = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self.incoming)
        os.close(self.outgoing)
        self.profile.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events that arrive meanwhile are kept in `events`."""
        self.last += 1
        number, message = self.last, {"id": self.last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.outgoing, data) :]
        deadline = time.monotonic() + PATIENCE
        while (found := self.receive(deadline)).get("id") != number:
            self.events.append(found)
        if "error" in found:
            raise DevtoolsError(f"{method}: {found['error']['message']}")
        return dict(found["result"])

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.pending:
            if not select.select([self.incoming], [], [], max(0, deadline - time.monotonic()))[0]:
                raise DevtoolsError("Chromium said nothing")
            if not (data := os.read(self.incoming, 1 << 16)):
                raise DevtoolsError("Chromium ended")
            self.pending += data
        message, _, self.pending = self.pending.partition(b"\0")
        return dict(json.loads(message))

    def open(self, url: str) -> Page:
        """A page, loading; its console, its network and what it violates are recorded as events."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=url)
        page.wait(f"location.href.startsWith({url!r}) && document.readyState !== 'loading'")
        return page


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self.browser, self.session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command to this tab."""
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if fault := found.get("exceptionDetails"):
            raise DevtoolsError(fault.get("exception", {}).get("description", fault["text"]))
        return found["result"].get("value")

    def bytes(self, script: str) -> bytes:
        """The bytes that an expression gives as Uint8Array or Uint8ClampedArray, awaited if it is a promise."""
        encoded = self.evaluate(f"Promise.resolve({script}).then((found) => new Uint8Array(found.buffer).toBase64())")
        return base64.b64decode(encoded)

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise DevtoolsError(f"never: {condition}; the page says: {self.evaluate('document.body.innerText')}")
            time.sleep(0.05)

    def metric(self, name: str) -> float:
        """One of the browser's own measurements, as `ThreadTime`, the seconds of the page's main thread."""
        found = {entry["name"]: entry["value"] for entry in self.call("Performance.getMetrics")["metrics"]}
        return float(found[name])

    def drop(self, selector: str, file: Path) -> None:
        """Drag a file of this machine over an element and let go, as a hand would."""
        left, top, width, height = self.box(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=left + width / 2, y=top + height / 2, data=data)

    def press(self, selector: str, key: str, times: int = 1) -> None:
        """Give an element the focus and press a key there."""
        self.evaluate(f"document.querySelector({selector!r}).focus()")
        for kind in ("rawKeyDown", "keyUp") * times:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def drag(self, selector: str, begin: float, end: float) -> None:
        """Press the mouse on an element and move it, from one share of its width to another, at half its height."""
        left, top, width, height = self.box(selector)
        for kind, share in (("mousePressed", begin), ("mouseMoved", end), ("mouseReleased", end)):
            at = {"x": left + share * width, "y": top + height / 2}
            self.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """(Left, top, width, height) of an element, which is scrolled into view."""
        element = f"document.querySelector({selector!r})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'nearest'}})")
        box = f"{element}.getBoundingClientRect()"
        left, top, width, height = self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])({box})")
        return left, top, width, height

    def events(self, method: str) -> list[dict[str, Any]]:
        """Parameters of the events of one kind so far."""
        return [event["params"] for event in self.browser.events if event.get("method") == method]
