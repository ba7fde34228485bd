"""The decode service at saturation, and one photograph's way from the device to the decoded file.

    python benchmarks/service.py [--out benchmarks/results/service.json] [--seconds 60]

Load: `latentwire serve` with a small inbox is sent packets over HTTP by threads that wait when told to (429): packets
of 64 MNIST images, then packets of 768x512 photographs (`$LATENTWIRE_DATA`: mnist, kodak). Counted is what reached the
sink. Bare decoding beside it, in the same run: a process that decodes the same packets in batches with as many decoders
and threads, and keeps nothing. Overhead is what a packet costs the service in processor time beyond that: HTTP, checks,
two durable writes.

Latency, one photograph at a time, against bare encoding and decoding of the same pictures: until the service has
answered with the decoded picture (nothing is stored), and through spool, inbox and sink until the file is there.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.files import read_idx, read_pictures
from latentwire.runtime.send import Rate, Sender

CLIENTS = 8
WAITING = 512
"""Packets in the inbox: enough for full batches, few enough to be refused at saturation."""
PHOTO_QUALITY = 96
"""About half a bit per pixel."""
DATA = Path(os.environ.get("LATENTWIRE_DATA", "."))


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument("--bare", nargs=2, metavar=("CODEC", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(json.dumps(bare(*arguments.bare, arguments.seconds)))
        return
    pictures = read_pictures(DATA / "kodak")
    digits = read_idx(DATA / "mnist/t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    packets = {
        "mnist": [Encoder("mnist").encode(group) for group in np.split(digits[: 64 * 100], 100)],
        "photo": [Encoder("photo").encode(picture, PHOTO_QUALITY) for picture in pictures],
    }
    figures: dict[str, Any] = {"machine": machine(), "seconds": arguments.seconds, "clients": CLIENTS}
    figures["load"] = {codec: load(codec, found, arguments.seconds) for codec, found in packets.items()}
    figures["photo_latency_ms"] = latency(pictures)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


class Service:
    """A `latentwire serve` process; memory is sampled while it runs.

    Args:
        folder: for its inbox, sink and log.
        options: of the command.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.sink = folder / "sink"
        self.log = (folder / "log").open("w+b")
        places = ("--inbox", str(folder / "inbox"), "--sink", str(self.sink))
        command = [sys.executable, "-m", "latentwire.runtime", "serve", "--no-auth", "--port", "0", *places, *options]
        self.process = subprocess.Popen(command, stderr=self.log)
        self.port = self._port(folder / "log")

    def _port(self, log: Path) -> int:
        while self.process.poll() is None:
            for line in log.read_text().splitlines():
                if '"listening"' in line:
                    return int(json.loads(line)["url"].rpartition(":")[2])
            time.sleep(0.05)
        sys.exit(log.read_text())

    def metric(self, name: str) -> float:
        """A counter's sum over its labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"latentwire_{name}"))

    def processor_seconds(self) -> float:
        """What the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Its memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def end(self) -> None:
        """Ask it to."""
        self.process.terminate()
        if self.process.wait(120):
            sys.exit(f"the service ended with {self.process.returncode}")
        self.log.close()


@dataclass
class Client:
    """Sends packets over one connection until told to stop."""

    port: int
    packets: Sequence[bytes]
    stop: threading.Event
    device: int
    answers: list[float] = field(default_factory=list)
    busy: int = 0

    def run(self) -> None:
        """Send; wait where the service says so."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        spool, sequence = f"{self.device:032x}", 0
        while not self.stop.is_set():
            body = self.packets[(sequence + self.device) % len(self.packets)]
            headers = {
                "Content-Type": "application/octet-stream",
                "Latentwire-Device": f"client-{self.device}",
                "Latentwire-Spool": spool,
                "Latentwire-Sequence": str(sequence),
            }
            began = time.perf_counter()
            connection.request("POST", "/v1/packets", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 202:
                self.answers.append(1000 * (time.perf_counter() - began))
                sequence += 1
            elif answer.status == 429:
                self.busy += 1
                self.stop.wait(float(answer.headers["Retry-After"]))
            else:
                sys.exit(f"the service answered {answer.status}")
        connection.close()


def load(codec: str, packets: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """One codec's packets at saturation."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "packets.npz"
        np.savez(stored, *(np.frombuffer(packet, np.uint8) for packet in packets))
        command = [sys.executable, __file__, "--bare", codec, str(stored), "--seconds", str(seconds / 4)]
        alone = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        service = Service(Path(folder), codec, "--max-waiting", str(WAITING), "--format", "npy")
        served = saturate(service, packets, seconds)
        service.end()
    each = served["processor_ms_per_packet"] / alone["processor_ms_per_packet"]
    return {"bare": alone, "service": served, "overhead_percent": round(100 * (each - 1), 1)}


def saturate(service: Service, packets: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Throughput, answers' times and memory once the service is busy."""
    stop = threading.Event()
    clients = [Client(service.port, packets, stop, device) for device in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 6)
    decoded, used, began = service.metric("packets_decoded_total"), service.processor_seconds(), time.perf_counter()
    memory = []
    while time.perf_counter() - began < seconds:
        memory.append(service.resident_mib())
        time.sleep(1)
    took = time.perf_counter() - began
    decoded, used = service.metric("packets_decoded_total") - decoded, service.processor_seconds() - used
    batches = service.metric("batch_packets_sum") / service.metric("batch_packets_count")
    stop.set()
    for thread in threads:
        thread.join()
    answers = [spent for client in clients for spent in client.answers]
    quarter = max(1, len(memory) // 4)
    return {
        "packets_per_second": round(decoded / took, 1),
        "processor_ms_per_packet": round(1000 * used / decoded, 3),
        "packets_of_a_batch": round(batches, 1),
        "answer_ms": {f"p{share}": round(float(np.percentile(answers, share)), 1) for share in (50, 95, 99)},
        "told_to_wait": sum(client.busy for client in clients),
        "memory_mib": {
            "first_quarter": round(statistics.median(memory[:quarter])),
            "last_quarter": round(statistics.median(memory[-quarter:])),
        },
    }


def bare(codec: str, file: str, seconds: float) -> dict[str, float]:
    """Decoding alone, as the service's workers do it when there is much to do: a batch and a core for each."""
    with np.load(file) as stored:
        packets = [stored[name].tobytes() for name in stored.files]
    batch = packets[: 64 if codec == "mnist" else 4]
    decoders = [Decoder(codec) for _ in range(os.cpu_count() or 1)]
    for decoder in decoders:
        decoder.decode_each(batch)
    done = [0] * len(decoders)
    end = time.perf_counter() + seconds

    def work(at: int) -> None:
        while time.perf_counter() < end:
            decoders[at].decode_each(batch)
            done[at] += len(batch)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(decoders))]
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - began, time.process_time() - used
    return {
        "packets_per_second": round(sum(done) / took, 1),
        "processor_ms_per_packet": round(1000 * used / sum(done), 3),
    }


def latency(pictures: Sequence[Any]) -> dict[str, float]:
    """Medians over the pictures, one at a time and nothing else to do."""
    encoder, decoder = Encoder("photo"), Decoder("photo", profile="server")
    spent: dict[str, list[float]] = {"encode_and_decode": [], "device_to_answer": [], "device_to_file": []}
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), "photo", "--format", "npy")
        rate = Rate(PHOTO_QUALITY, lowest=PHOTO_QUALITY)
        url = f"http://127.0.0.1:{service.port}"
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        with Sender(encoder, url, device="camera", spool=Path(folder) / "spool", rate=rate) as sender:
            ways: dict[str, Callable[[Any], object]] = {
                "encode_and_decode": lambda picture: decoder.decode(encoder.encode(picture, PHOTO_QUALITY)),
                "device_to_answer": lambda picture: answered(connection, encoder.encode(picture, PHOTO_QUALITY)),
                "device_to_file": lambda picture: filed(service.sink, sender, picture),
            }
            for picture in pictures:
                for name, way in ways.items():
                    began = time.perf_counter()
                    way(picture)
                    spent[name].append(1000 * (time.perf_counter() - began))
        connection.close()
        service.end()
    bare, *others = (np.array(found[1:]) for found in spent.values())  # the first picture warms everything up
    beyond = {f"{name}_beyond": np.median(found - bare) for name, found in zip(list(spent)[1:], others, strict=True)}
    medians = {name: np.median(found[1:]) for name, found in spent.items()}
    return {name: round(float(value), 1) for name, value in (medians | beyond).items()}


def answered(connection: http.client.HTTPConnection, packet: bytes) -> np.ndarray:
    """What the service decodes at once and does not store."""
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/x-npy"}
    connection.request("POST", "/v1/packets", packet, headers)
    found: np.ndarray = np.load(io.BytesIO(connection.getresponse().read()))
    return found


def filed(sink: Path, sender: Sender, picture: Any) -> None:
    """Through the spool, the inbox and the sink, each on the disk before the next."""
    there = count(sink)
    sender.put(picture)
    while count(sink) == there:
        time.sleep(0.0005)


def count(sink: Path) -> int:
    """Decoded files."""
    return sum(1 for _ in sink.glob("*/*.npy"))


if __name__ == "__main__":
    main()
