"""The demo's two processes: a device that encodes and a server that decodes, with TCP between them.

Both are programs of `processes`, which know nothing but `latentwire.runtime`. Whatever goes wrong in one of them
ends both, and its own words are in the error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from latentwire.export.errors import ExportError
from latentwire.runtime.contract import Array
from latentwire.runtime.wire import Damaged, read_stream

SCRIPTS = Path(__file__).parent / "processes"
TIMEOUT = 120.0
"""Seconds for everything between the start of the processes and their end."""
GRACE = 2.0
"""Seconds that a process has to end by itself after the other has failed: it may know better why."""
POLL = 0.02
BUILD_ONLY = ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn", "matplotlib", "safetensors")
BUILD_LAYERS = ("latentwire.train", "latentwire.export")


class DemoError(ExportError):
    """A process of the demo failed, or did what the demo says it does not do."""


@dataclass(frozen=True)
class Latency:
    """How long one packet of a flow takes.

    Attributes:
        batch: items in a packet.
        encode_ms: on the device, the median over all packets, milliseconds.
        decode_ms: on the server.
    """

    batch: int
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True)
class Flow:
    """All held-out items at one quality, in packets of one size, after their way over the wire."""

    quality: int
    bytes_per_item: float
    latency: Latency
    items: Array


@dataclass(frozen=True)
class Wire:
    """What the two processes did."""

    flows: tuple[Flow, ...]
    packets: tuple[bytes, ...]
    """As the server received them, in order."""
    start_ms: float
    """What the device took to load the codec and check its hash, milliseconds."""
    device_modules: tuple[str, ...]
    server_modules: tuple[str, ...]

    def flow(self, quality: int, batch: int) -> Flow:
        """The one flow of that quality and batch."""
        return next(flow for flow in self.flows if (flow.quality, flow.latency.batch) == (quality, batch))


def over_the_wire(
    bundle: Path,
    items: Array,
    qualities: Sequence[int],
    batches: Sequence[int],
    *,
    device_variant: str,
    server_variant: str,
    timeout: float = TIMEOUT,
) -> Wire:
    """Send items from a device process to a server process.

    Args:
        bundle: the codec.
        items: [N, ...] of its contract.
        qualities: each item is sent at each of them.
        batches: and for each of these numbers of items in a packet.
        device_variant: of the encoder.
        server_variant: of the decoder.
        timeout: seconds for all of it.

    Raises:
        DemoError: a process failed, took too long, imported what a device does not have, or lost packets.
    """
    with TemporaryDirectory(prefix="latentwire-demo-") as name:
        folder = Path(name)
        np.save(folder / "sent.npy", items)
        run_processes(bundle, folder, qualities, batches, (device_variant, server_variant), timeout)
        device, server = (read_report(folder / f"{side}.json") for side in ("device", "server"))
        received = np.load(folder / "received.npy", allow_pickle=False)
        packets = read_packets(folder / "packets.lw")
    for side, report in (("device", device), ("server", server)):
        check_modules(side, report["modules"])
    return Wire(
        tuple(flows_of(device["packets"], server["packets"], received, len(items))),
        packets,
        1000 * device["start_seconds"],
        tuple(device["modules"]),
        tuple(server["modules"]),
    )


def run_processes(
    bundle: Path,
    folder: Path,
    qualities: Sequence[int],
    batches: Sequence[int],
    variants: tuple[str, str],
    timeout: float,
) -> None:
    """Start server and device, and see both to their end."""
    deadline = time.monotonic() + timeout
    common = ["--timeout", str(timeout)]
    results = [str(folder / name) for name in ("received.npy", "packets.lw", "server.json")]
    with process("server", [str(bundle), *results, "--variant", variants[1], *common], folder) as server:
        port = read_port(server, folder, timeout)
        options = [f"--quality={quality}" for quality in qualities] + [f"--batch={batch}" for batch in batches]
        files = [str(bundle), str(folder / "sent.npy"), str(folder / "device.json")]
        command = [*files, "--port", port, "--variant", variants[0], *options, *common]
        with process("device", command, folder) as device:
            wait_for({"device": device, "server": server}, folder, deadline)


@contextmanager
def process(side: str, options: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One of the two programs; it does not outlive the block. Its stderr goes to a file, which cannot fill up."""
    command = [sys.executable, str(SCRIPTS / f"{side}.py"), *options]
    with (folder / f"{side}.stderr").open("wb") as log:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
        try:
            yield running
        finally:
            running.kill()
            running.wait()
            if running.stdout is not None:
                running.stdout.close()


def read_port(server: subprocess.Popen[str], folder: Path, timeout: float) -> str:
    """The port that the server prints once it listens."""
    if server.stdout is None:
        raise DemoError("expected the server's output in a pipe, found none")
    watchdog = threading.Timer(timeout, server.kill)  # a line cannot be waited for with a timeout on every system
    watchdog.start()
    line = server.stdout.readline().strip()
    watchdog.cancel()
    if not line.isdigit():
        server.kill()
        server.wait()
        raise DemoError(f"expected the server to print its port, found {line!r}: {last_words('server', folder)}")
    return line


def wait_for(processes: dict[str, subprocess.Popen[str]], folder: Path, deadline: float) -> None:
    """Wait until all have ended well; when one fails, the others get a moment to say why, and no more."""
    while any(running.poll() is None for running in processes.values()):
        if any(running.poll() for running in processes.values()):
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            break
        time.sleep(POLL)
    codes = {side: running.poll() for side, running in processes.items()}
    failed = [f"the {side} ended with {code}: {last_words(side, folder)}" for side, code in codes.items() if code]
    late = [f"the {side} did not end in time: {last_words(side, folder)}" for side in codes if codes[side] is None]
    if failed or late:  # where one failed, the other waits for it in vain: that is no fault of its own
        raise DemoError("expected both processes to end well, found: " + "; ".join(failed or late))


def last_words(side: str, folder: Path) -> str:
    """The end of a process's stderr."""
    text = (folder / f"{side}.stderr").read_text(encoding="utf-8", errors="replace").strip()
    return text[-2000:] or "it wrote nothing to stderr"


def read_report(path: Path) -> dict[str, Any]:
    """What a process left behind."""
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def read_packets(path: Path) -> tuple[bytes, ...]:
    """The packets of a stream file, all of them intact."""
    with path.open("rb") as file:
        records = list(read_stream(file))
    for record in records:
        if isinstance(record, Damaged):
            raise DemoError(f"expected intact packets from the server, found damage: {record.error}")
    return tuple(record.data for record in records if not isinstance(record, Damaged))


def check_modules(side: str, modules: Sequence[str]) -> None:
    """Nothing that only building a codec needs was imported."""
    found = [name for name in modules if name.partition(".")[0] in BUILD_ONLY or name.startswith(BUILD_LAYERS)]
    if found or "latentwire.runtime" not in modules:
        raise DemoError(
            f"expected the {side} to import latentwire.runtime and nothing of the build, found {found or 'no runtime'}"
        )


def flows_of(sent: list[dict[str, Any]], received: list[dict[str, Any]], items: Array, count: int) -> Iterator[Flow]:
    """What was sent and what arrived, put together and grouped by quality and batch."""
    if [entry["quality"] for entry in sent] != [entry["quality"] for entry in received]:
        raise DemoError(f"expected {len(sent)} packets as they were sent, found {len(received)} others at the server")
    keys = list(dict.fromkeys((entry["quality"], entry["batch"]) for entry in sent))
    if len(items) != count * len(keys):
        raise DemoError(f"expected {count * len(keys)} decoded items, found {len(items)}")
    for (quality, batch), part in zip(keys, np.split(items, len(keys)), strict=True):
        mine = [index for index, entry in enumerate(sent) if (entry["quality"], entry["batch"]) == (quality, batch)]
        encode, decode = (1000 * median(side[index]["seconds"] for index in mine) for side in (sent, received))
        size = sum(sent[index]["bytes"] for index in mine) / count
        yield Flow(quality, size, Latency(batch, encode, decode), part)
