"""Hours of devices that send and a service that decodes, with faults: every packet arrives once, and nothing grows.

    python tests/faults/soak.py [--minutes 60] [--rate 5] [--out soak.json]

One device sends items over HTTP, through a proxy; one sends pictures over MQTT. In turns memory gets short, the disk of
the inbox full, the clock is set back, the broker goes, the proxy answers pages of its own or none, the service is
killed. At the end the sink holds each item once, as its packet decodes; nothing is in quarantine, nothing was refused;
memory, descriptors and the rate of the logs are in the last third what they were in the first. Exits with 1, and says
what is wrong, otherwise. Faults that this machine does not allow are named. Where Mosquitto is not installed, all goes
over HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from processes import Process, ended, free_port, tail
from proxy import Proxy

from latentwire.runtime import Decoder, Encoder

QUALITY = 200
CALM, FAULT = 30.0, 15.0
"""Seconds without a fault, and with one."""
SAMPLE = 5.0
PATIENCE = 180
"""Seconds for what waits to arrive at the end."""
DISK = 48
"""MiB of the disk that gets full."""
SPARE = 4 << 20
"""Bytes that a process may still take while memory is short."""
GROWTH = {"memory": 96 << 20, "descriptors": 24}
"""By which the last third may lie above the first."""
LOG_RATE = 4096
"""Bytes a second that a log may grow by, on average."""


@dataclass(frozen=True)
class Device:
    """A folder of numbered files, and the sender that watches it."""

    name: str
    codec: str
    link: str

    def item(self, number: int) -> np.ndarray:
        """What file NUMBER holds: noise that the number determines, a vector or a small picture."""
        chance = np.random.default_rng(number)
        shape = (1, 784) if self.codec == "mnist" else (24 + number % 40, 32, 3)
        return chance.integers(0, 256, shape, dtype=np.uint8)


@dataclass
class Sample:
    """What a process holds at one time."""

    second: float
    memory: int
    descriptors: int


@dataclass
class Soak:
    """One run.

    Args:
        folder: for everything.
        minutes: how long.
        rate: items a second, of all devices.
    """

    folder: Path
    minutes: float
    rate: float
    written: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ended = threading.Event()
        self.calm = True
        self.clock, self.sink = self.folder / "clock", self.folder / "sink"
        self.clock.write_text("0")
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.mounted = (
            shutil.which("mount") is not None
            and not subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", self.disk], check=False, capture_output=True
            ).returncode
        )
        self.http, self.broker = free_port(), free_port() if shutil.which("mosquitto") else None
        self.proxy = Proxy(self.http)
        link = "http" if self.broker is None else "mqtt"
        self.devices = (Device("items", "mnist", "http"), Device("pictures", "photo", link))
        for device in self.devices:
            (self.folder / device.name).mkdir()
        self.processes = {
            "server": Process(self.server, self.folder / "server.log"),
            **{d.name: Process(lambda d=d: self.sender(d), self.folder / f"{d.name}.log") for d in self.devices},
        }
        if self.broker is not None:
            self.processes["broker"] = Process(self.mosquitto, self.folder / "broker.log")

    def command(self, *arguments: str) -> list[str]:
        """`latentwire`, with a clock that can be set."""
        return [sys.executable, str(Path(__file__).parent / "clock.py"), str(self.clock), *arguments]

    def server(self) -> list[str]:
        """The decode service."""
        places = ["--sink", str(self.sink), "--inbox", str(self.disk / "inbox"), "--port", str(self.http)]
        mqtt = [] if self.broker is None else ["--mqtt", f"mqtt://127.0.0.1:{self.broker}"]
        return self.command("serve", "mnist", "photo", "--no-auth", "--format", "npy", *places, *mqtt)

    def sender(self, device: Device) -> list[str]:
        """A device."""
        url = f"http://127.0.0.1:{self.proxy.port}" if device.link == "http" else f"mqtt://127.0.0.1:{self.broker}"
        spool = ["--spool", str(self.folder / f"{device.name}.spool"), "--device", device.name]
        quality = ["--quality", str(QUALITY), "--min-quality", str(QUALITY), "--batch", "1"]
        quick = ["--max-backoff", "2", "--timeout", "10", "--delete"]
        source = str(self.folder / device.name)
        return self.command("send", device.codec, source, "--to", url, *spool, *quality, *quick)

    def mosquitto(self) -> list[str]:
        """The broker, which forgets everything when it is killed."""
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.broker} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n")
        return ["mosquitto", "-c", str(config)]

    def run(self) -> None:
        """Load and faults for so long; then everything has time to arrive."""
        for name in ("broker", "server", *(device.name for device in self.devices)):
            if name in self.processes:
                self.processes[name].start()
        threads = [threading.Thread(target=work) for work in (self.load, self.watch)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + 60 * self.minutes
        faults = self.faults()
        while time.monotonic() + CALM + FAULT < ends:
            time.sleep(CALM)
            name, fault = next(faults)
            self.calm = False
            fault()
            self.happened[name] += 1
            self.calm = True
        time.sleep(max(0.0, ends - time.monotonic()))
        self.ended.set()
        for thread in threads:
            thread.join()
        self.wait(lambda: self.arrived() >= sum(self.written.values()), PATIENCE)
        time.sleep(2)  # for what comes twice
        self.end()

    def faults(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """One after another, for ever."""
        chosen: dict[str, Callable[[], None]] = {
            "memory short": self.memory_short,
            "proxy answers pages": lambda: self.proxied("html"),
            "clock set back": self.clock_back,
            "service killed": lambda: self.away("server"),
            "proxy gone": lambda: self.proxied("gone"),
        }
        if self.broker is not None:
            chosen["broker gone"] = lambda: self.away("broker")
        if self.mounted:
            chosen["disk full"] = self.disk_full
        while True:
            names = list(chosen)
            random.shuffle(names)
            yield from ((name, chosen[name]) for name in names)

    def memory_short(self) -> None:
        """The service gets next to nothing more."""
        running = self.processes["server"].running
        assert running is not None
        size = int(Path(f"/proc/{running.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(running.pid, resource.RLIMIT_AS, (size + SPARE, resource.RLIM_INFINITY))
        time.sleep(FAULT)
        resource.prlimit(running.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def disk_full(self) -> None:
        """Not a byte is left where the inbox is."""
        ballast = self.disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        time.sleep(FAULT)
        ballast.unlink()

    def clock_back(self) -> None:
        """By an hour, and later to what it was."""
        self.clock.write_text("-3600")
        time.sleep(FAULT)
        self.clock.write_text("0")

    def proxied(self, mode: str) -> None:
        """The proxy is something else for a while."""
        self.proxy.set(mode)
        time.sleep(FAULT)
        self.proxy.set("pass")

    def away(self, name: str) -> None:
        """A process is killed, and comes back."""
        self.processes[name].kill()
        time.sleep(FAULT / 3)
        self.processes[name].start()
        time.sleep(2 * FAULT / 3)

    def load(self) -> None:
        """Write items until the end: four vectors for each picture."""
        number = 0
        while not self.ended.wait(1 / self.rate):
            device = self.devices[number % 5 == 4]
            count = self.written[device.name]
            folder = self.folder / device.name
            temporary = folder / f".{count:06d}.tmp"
            with temporary.open("wb") as file:
                np.save(file, device.item(count))
            temporary.replace(folder / f"{count:06d}.npy")
            self.written[device.name] += 1
            number += 1

    def watch(self) -> None:
        """Look at the processes now and then, while all is well."""
        began = time.monotonic()
        while not self.ended.wait(SAMPLE):
            for name, process in self.processes.items():
                if process.died and self.calm:
                    self.said.append(f"{name} ended by itself: {tail(process.log)}")
                elif self.calm and process.running is not None:
                    sample = _sample(process.running.pid, time.monotonic() - began)
                    self.samples.setdefault(name, []).extend([] if sample is None else [sample])

    def wait(self, held: Callable[[], bool], seconds: float) -> None:
        """Until it holds, not for ever."""
        end = time.monotonic() + seconds
        while not held() and time.monotonic() < end:
            time.sleep(0.2)

    def arrived(self) -> int:
        """Files of items in the sink."""
        return sum(1 for _ in self.sink.glob("*/*.npy"))

    def end(self) -> None:
        """Ask all to end, senders first."""
        self.said += ended(self.processes, (*(device.name for device in self.devices), "server", "broker"))

    def wrong(self) -> Iterator[str]:
        """What is wrong at the end; nothing if all is well."""
        yield from self.said
        for device in self.devices:
            yield from self._lost_or_doubled(device)
        quarantine = [path.name for path in (self.disk / "inbox" / "quarantine").glob("*") if path.is_file()]
        if quarantine:
            yield f"in quarantine: {', '.join(quarantine[:10])}"
        for name, samples in self.samples.items():
            yield from _grown(name, samples)
        for name, process in self.processes.items():
            rate = process.log.stat().st_size / (60 * self.minutes)
            if rate > LOG_RATE:
                yield f"the log of {name} grew by {rate:.0f} bytes a second"

    def _lost_or_doubled(self, device: Device) -> Iterator[str]:
        encoder, decoder = Encoder(device.codec), Decoder(device.codec)
        found: Counter[int] = Counter()
        for path in self.sink.glob(f"{device.name}/*.npy"):
            notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            number = int(notes["notes"][0]["file"].partition(".")[0])
            found[number] += 1
            if not np.array_equal(np.load(path), decoder.decode(encoder.encode(device.item(number), QUALITY))):
                yield f"{device.name} {number} is not what its packet decodes to: {path.name}"
        count = self.written[device.name]
        yield from (f"{device.name} {number} is lost" for number in range(count) if not found[number])
        yield from (f"{device.name} {number} arrived {times} times" for number, times in found.items() if times > 1)

    def close(self) -> None:
        """Nothing of it goes on."""
        self.ended.set()
        for process in self.processes.values():
            if process.running is not None and not process.died:
                process.kill()
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.disk], check=False)

    def report(self) -> dict[str, object]:
        """As JSON: what was sent, what happened, and each process's first and last third."""
        thirds = {name: [_middle(part) for part in _thirds(samples)] for name, samples in self.samples.items()}
        logs = {name: process.log.stat().st_size for name, process in self.processes.items()}
        not_run = [name for name, there in (("disk full", self.mounted), ("broker gone", self.broker)) if not there]
        return {
            "minutes": self.minutes,
            "sent": dict(self.written),
            "faults": dict(self.happened),
            "not run": not_run,
            "thirds": thirds,
            "log bytes": logs,
        }


def _sample(pid: int, second: float) -> Sample | None:
    """None where the process has just ended."""
    try:
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        return Sample(second, memory, len(os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return None


def _thirds(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The first and the last, as far as there are three."""
    part = max(1, len(samples) // 3)
    return samples[:part], samples[-part:]


def _middle(samples: list[Sample]) -> dict[str, float]:
    return {name: statistics.median(asdict(sample)[name] for sample in samples) for name in GROWTH}


def _grown(name: str, samples: list[Sample]) -> Iterator[str]:
    first, last = (_middle(part) for part in _thirds(samples))
    for what, most in GROWTH.items():
        if last[what] - first[what] > most:
            yield f"{what} of {name} grew from {first[what]:.0f} to {last[what]:.0f}"


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5.0, help="items a second")
    parser.add_argument("--out", type=Path, help="write the report here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latentwire-soak-") as folder:
        soak = Soak(Path(folder), arguments.minutes, arguments.rate)
        try:
            soak.run()
            wrong = list(soak.wrong())
            report = soak.report()
        finally:
            soak.close()
    print(json.dumps(report, indent=2))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    for line in wrong[:40]:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
