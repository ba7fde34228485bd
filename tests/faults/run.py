"""Sender and decode service killed again and again: each packet is decoded exactly once, none is lost, none corrupt.

    python tests/faults/run.py [--packets 5000] [--kills 50] [--link http|mqtt] [--seed 0]

`latentwire send` watches a folder of numbered items and sends each as a packet to `latentwire serve`; both get SIGKILL
at random moments, and over MQTT the broker (Mosquitto, without any memory of its own) does too. At the end the sink
must hold each item once, as its packet decodes. Exits with 1 and says what is wrong otherwise; with 77 where a tool is
missing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from processes import Process, ended, free_port, tail

from latentwire.artifacts import locate
from latentwire.runtime import Decoder, Encoder

CODEC = locate("mnist")
QUALITY = 255
MISSING_TOOL = 77
PATIENCE = 120
"""Seconds without a new file in the sink, after which nothing more is expected."""
LONGEST_PEACE = 3
"""Seconds between two kills."""
STARTING = 5
"""Seconds in which a process that was started last gets to heed SIGTERM."""


def main() -> None:
    """Run one trial and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--link", choices=("http", "mqtt"), default="http")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.link == "mqtt" and shutil.which("mosquitto") is None:
        print("no mosquitto here")
        sys.exit(MISSING_TOOL)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), arguments.link, arguments.packets, random.Random(arguments.seed))
        trial.run(arguments.kills)
        faults = list(trial.faults())
    print(f"{arguments.packets} packets over {arguments.link}, killed: {dict(trial.killed)}, {trial.seconds:.0f} s")
    for fault in faults[:20]:
        print(fault)
    sys.exit(1 if faults else 0)


@dataclass
class Trial:
    """One run.

    Args:
        folder: for everything.
        link: "http" or "mqtt".
        packets: how many.
        chance: draws who is killed and when.
    """

    folder: Path
    link: str
    packets: int
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.source, self.sink = self.folder / "items", self.folder / "sink"
        self.source.mkdir()
        http, broker = free_port(), free_port()
        self.processes = {
            "server": Process(lambda: self.server(http, broker), self.folder / "server.log"),
            "sender": Process(lambda: self.sender(http, broker), self.folder / "sender.log"),
        }
        if self.link == "mqtt":
            self.processes["broker"] = Process(lambda: self.broker(broker), self.folder / "broker.log")

    def server(self, http: int, broker: int) -> list[str]:
        """The decode service."""
        places = ["--sink", str(self.sink), "--inbox", str(self.folder / "inbox"), "--port", str(http)]
        mqtt = ["--mqtt", f"mqtt://127.0.0.1:{broker}"] if self.link == "mqtt" else []
        return [*latentwire("serve"), str(CODEC), "--no-auth", *places, *mqtt]

    def sender(self, http: int, broker: int) -> list[str]:
        """The device."""
        url = f"http://127.0.0.1:{http}" if self.link == "http" else f"mqtt://127.0.0.1:{broker}"
        spool = str(self.folder / "spool.sqlite")
        options = ["--to", url, "--device", "device", "--spool", spool, "--max-backoff", "1"]
        return [*latentwire("send"), str(CODEC), str(self.source), "--quality", str(QUALITY), "--batch", "1", *options]

    def broker(self, port: int) -> list[str]:
        """Mosquitto, which forgets everything when it is killed."""
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n")
        return ["mosquitto", "-c", str(config)]

    def run(self, kills: int) -> None:
        """Everything, until the sink has all there is or nothing more comes."""
        began = time.monotonic()
        for number in range(self.packets):
            write_item(self.source, number)
        for process in self.processes.values():
            process.start()
        # Kills are spread over the packets' way: a process is killed when so many have arrived, or after a while.
        for mark in sorted(self.chance.randrange(self.packets) for _ in range(kills)):
            self.wait(lambda mark=mark: self.arrived() >= mark, LONGEST_PEACE)
            time.sleep(self.chance.uniform(0, 0.3))
            self.kill(self.chance.choice(list(self.processes)))
        arrived = -1
        while arrived != (arrived := self.arrived()) and arrived < self.packets:
            self.wait(lambda: self.arrived() > arrived, PATIENCE)
        self.seconds = time.monotonic() - began
        self.end()

    def wait(self, held: Callable[[], bool], seconds: float) -> bool:
        """Whether it held within that time."""
        end = time.monotonic() + seconds
        while not held():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def kill(self, name: str) -> None:
        """One process, which starts again at once."""
        process = self.processes[name]
        if process.died:
            self.said.append(f"{name} ended by itself: {tail(process.log)}")
        process.kill()
        self.killed[name] += 1
        process.start()

    def end(self) -> None:
        """Ask all to end, sender first."""
        time.sleep(STARTING)
        self.said += ended(self.processes, ("sender", "server", "broker"))

    def arrived(self) -> int:
        """Files of items in the sink."""
        return sum(1 for _ in self.sink.glob("*/*.npy"))

    def faults(self) -> Iterator[str]:
        """What is wrong at the end; nothing if all is well."""
        yield from self.said
        encoder, decoder = Encoder(CODEC), Decoder(CODEC)
        found: Counter[int] = Counter()
        for path in self.sink.glob("*/*.npy"):
            notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            number = int(notes["notes"][0]["file"].partition(".")[0])
            found[number] += 1
            wanted = decoder.decode(encoder.encode(item(number), QUALITY))
            if not np.array_equal(np.load(path), wanted):
                yield f"item {number} is not what its packet decodes to: {path.name}"
        yield from (f"item {number} is lost" for number in range(self.packets) if not found[number])
        yield from (f"item {number} arrived {count} times" for number, count in found.items() if count > 1)
        yield from (f"left in the sink: {path.name}" for path in self.sink.glob("**/.*.tmp"))


def latentwire(command: str) -> list[str]:
    """A command of the installed package."""
    return [sys.executable, "-m", "latentwire.runtime", command]


def item(number: int) -> np.ndarray:
    """One picture of 28x28 that shows the number, 14 bits in blocks of 4x4 pixels."""
    bits = (number >> np.arange(14)) & 1
    blocks = np.zeros((7, 7), np.uint8)
    blocks[1:3, :] = 255 * bits.reshape(2, 7)
    return np.kron(blocks, np.ones((4, 4), np.uint8)).reshape(1, 784)


def write_item(folder: Path, number: int) -> None:
    """Its file, which appears whole."""
    temporary = folder / f".{number:05d}.tmp"
    with temporary.open("wb") as file:
        np.save(file, item(number))
    temporary.replace(folder / f"{number:05d}.npy")


if __name__ == "__main__":
    main()
