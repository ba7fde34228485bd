"""What each session option of a profile is worth: time, processor time and memory of encoding photographs.

    python benchmarks/profiles.py [--out benchmarks/results/profiles.json] [--bundle photo] [--images FOLDER]

One process for each set of options, all on the same pictures (`$LATENTWIRE_DATA/kodak/*.png`), in rounds, so that a
busy machine disturbs all alike. Between two pictures the process sleeps, as a device does: what idle threads burn then
counts as processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from latentwire.runtime import Encoder, codec
from latentwire.runtime.files import read_pictures
from latentwire.runtime.session import Profile, Profiles

DEVICE = Profiles.DEVICE.value
CASES = {
    "device": DEVICE,
    "device, 2 threads": replace(DEVICE, threads=2),
    "device, 2 threads, spinning": replace(DEVICE, threads=2, spinning=True),
    "device, arena": replace(DEVICE, arena=True),
    "server": Profiles.SERVER.value,
}
PAUSE = 0.05
"""Seconds between two pictures."""
QUALITY = 96
ROUNDS = 5


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--bundle", default="photo", help="bundle or ready codec")
    parser.add_argument("--images", type=Path, default=Path(os.environ.get("LATENTWIRE_DATA", ".")) / "kodak")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(CASES[arguments.case], arguments.bundle, arguments.images)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, found in rounds.items():
            command = [sys.executable, __file__, "--case", name, "--bundle", arguments.bundle]
            done = subprocess.run(
                [*command, "--images", str(arguments.images)], check=True, stdout=subprocess.PIPE, text=True
            )
            found.append(json.loads(done.stdout))
    figures = {"machine": machine(), "cases": {name: summary(name, found) for name, found in rounds.items()}}
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def summary(name: str, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """A case's options and its medians over the rounds."""
    return {
        "options": asdict(CASES[name]),
        **{key: round(statistics.median(entry[key] for entry in rounds), 1) for key in rounds[0]},
    }


def measure(profile: Profile, bundle: str, images: Path) -> dict[str, float]:
    """Medians: milliseconds from pixels to packet, processor's milliseconds of that and the pause; MiB at the end."""
    pictures = read_pictures(images)
    before = resident()
    codec.profile_named = lambda _: profile  # type: ignore[assignment] # only two sets of options have names
    encoder = Encoder(bundle)
    encoder.encode(pictures[0], QUALITY)
    wall, cpu = [], []
    for picture in pictures:
        began, burnt = time.perf_counter(), time.process_time()
        encoder.encode(picture, QUALITY)
        wall.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE)
        cpu.append(1000 * (time.process_time() - burnt))
    return {
        "encode_milliseconds": float(np.median(wall)),
        "processor_milliseconds": float(np.median(cpu)),
        "memory_mib": resident() - before,
    }


def resident() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    main()
