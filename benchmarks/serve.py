"""What the service costs beside decoding: the same packets decoded by a loop, and sent to `latentwire serve`.

    python benchmarks/serve.py --kodak kodak/ --out benchmarks/results/serve.json

Processor seconds are the measure of throughput: all cores are busy either way, and other programs do not count. The
service's are those of its whole process, sink included; the sender is another process. The time of one photo alone is
wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.pictures import PictureOptions, load_picture
from latentwire.runtime.readers import read_idx

HEADERS = {"Content-Type": "application/octet-stream"}
TICKS = os.sysconf("SC_CLK_TCK")
ITEMS = 64


def processor_seconds(process: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def service(folder: Path, codec: str, form: str) -> Iterator[tuple[str, int]]:
    """`latentwire serve`: its URL and process."""
    command = [sys.executable, "-m", "latentwire.runtime", "serve", codec, "--no-auth", "--port", "0", "--format", form]
    command += ["--sink", str(folder / "sink"), "--inbox", str(folder / "inbox")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = next(found["url"] for found in map(json.loads, process.stderr) if "url" in found)
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    try:
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()
        drain.join()


def metric(client: httpx.Client, name: str) -> float:
    """A metric without labels."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def bare(codec: str, packets: Sequence[bytes], profile: str, threads: int) -> dict[str, float]:
    """A loop around the decoder; processor and wall seconds a packet."""
    decoder = Decoder(codec, profile=profile)
    decoder.decode(packets[0])
    began, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decoder.decode, packets))
    return {
        "processor_ms": 1e3 * (time.process_time() - busy) / len(packets),
        "wall_ms": 1e3 * (time.perf_counter() - began) / len(packets),
    }


def saturated(codec: str, packets: Sequence[bytes], form: str, senders: int = 16) -> dict[str, float]:
    """As many senders at once as keep the service busy."""
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), codec, form) as (url, process),
        httpx.Client(base_url=url, timeout=600) as client,
        ThreadPoolExecutor(senders) as pool,
    ):

        def send(packet: bytes) -> None:
            client.post("/v1/packets", content=packet, headers=HEADERS).raise_for_status()

        send(packets[0])
        settle(client)
        began, busy = time.perf_counter(), processor_seconds(process)
        list(pool.map(send, packets[1:]))
        settle(client)
        count = len(packets) - 1
        return {
            "processor_ms": 1e3 * (processor_seconds(process) - busy) / count,
            "wall_ms": 1e3 * (time.perf_counter() - began) / count,
            "batch": count / (metric(client, "latentwire_batch_packets_count") - 1),
        }


def settle(client: httpx.Client) -> None:
    """Everything is in the sink."""
    while metric(client, "latentwire_packets_waiting"):
        time.sleep(0.02)


def alone(picture: np.ndarray, form: str, rounds: int) -> dict[str, float]:
    """One photo after the other on an idle service, until it is answered, until it is stored; medians in ms."""
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), "photo", form) as (url, _),
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        photo = Photo(Encoder("photo"), Decoder("photo", profile="server"), client, Path(folder) / "sink")
        found = [photo.measure(np.roll(picture, number, axis=1), number) for number in range(rounds)]
        return {name: 1e3 * statistics.median(entry[name] for entry in found) for name in found[0]}


@dataclass(frozen=True)
class Photo:
    """Measures one photo's way."""

    encoder: Encoder
    decoder: Decoder
    client: httpx.Client
    sink: Path

    def measure(self, pixels: np.ndarray, before: int) -> dict[str, float]:
        """Seconds of each step; ``before`` photos are in the sink."""
        encode, packet = timed(lambda: self.encoder.encode(pixels, 100))
        asked = HEADERS | {"Accept": "application/x-npy"}
        return {
            "encode": encode,
            "decode": timed(lambda: self.decoder.decode(packet))[0],
            "answered": timed(lambda: self.client.post("/v1/packets", content=packet, headers=asked))[0],
            "stored": timed(lambda: stored(self.client, self.sink, packet, before + 1))[0],
        }


def stored(client: httpx.Client, sink: Path, packet: bytes, count: int) -> None:
    """Send, and wait until the sink has so many."""
    client.post("/v1/packets", content=packet, headers=HEADERS).raise_for_status()
    while len([path for path in sink.rglob("*") if path.suffix in (".png", ".npy")]) < count:
        time.sleep(0.0005)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kodak", type=Path, required=True)
    parser.add_argument("--digits", type=Path, required=True, help="IDX file of digits")
    parser.add_argument("--packets", type=int, default=300)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path)
    found = parser.parse_args()
    digits = read_idx(found.digits).reshape(-1, 784)
    encoder = Encoder("mnist")
    work = [digits[np.arange(n * 31, n * 31 + ITEMS) % len(digits)] for n in range(found.packets)]
    packets = [encoder.encode(items, 128) for items in work]
    pictures = [load_picture(path, PictureOptions(None, None)) for path in sorted(found.kodak.glob("*.png"))]
    camera = Encoder("photo")
    photos = [camera.encode(np.roll(pictures[n % len(pictures)], n, axis=1), 100) for n in range(found.photos)]
    cores = os.cpu_count() or 1
    results: dict[str, Any] = {"cores": cores, "items": ITEMS}
    for name, bodies, forms in (("mnist", packets, ("npy",)), ("photo", photos, ("npy", "png"))):
        results[name] = {"bare, one core a packet": bare(name, bodies, "device", cores)}
        results[name]["bare, all cores a packet"] = bare(name, bodies, "server", 1)
        for form in forms:
            results[name][f"service, {form}"] = saturated(name, bodies, form)
            against = results[name]["bare, one core a packet"]["processor_ms"]
            results[name][f"overhead, {form}"] = results[name][f"service, {form}"]["processor_ms"] / against - 1
    results["one photo, npy"] = alone(pictures[0], "npy", found.rounds)
    results["one photo, png"] = alone(pictures[0], "png", found.rounds)
    text = json.dumps(results, indent=1)
    print(text)
    if found.out:
        found.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
