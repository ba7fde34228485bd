"""The ready codec for photographs in a real browser: headless Chromium, onnxruntime-web's WebAssembly, one thread.

    python benchmarks/browser.py [--out benchmarks/results/browser.json] [--bundle photo] [--images FOLDER]

Encodes `$LATENTWIRE_DATA/kodak/*.png` with the default encoder in the browser and in Python, one thread each, at one
quality, and decodes Python's packets in both. Medians over the pictures, in memory, sessions open. Fails if a packet of
the same latents has other bytes in the browser. Needs Chromium and npm, as `make matrix` does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from matrix import environments
from matrix.cell import digest
from matrix.corpus import write_array
from photo_codec import clock, machine, read_pictures
from rate_distortion import Picture

from latentwire.export import measure
from latentwire.export.verify import Subject
from latentwire.runtime.bundle import open_bundle

FAMILY = "image"


class Corpus:
    """What the browser is given, in the form of the matrix's corpus, and what Python makes of the same."""

    def __init__(self, folder: Path, subject: Subject, quality: int) -> None:
        self.folder, self.subject, self.quality = folder, subject, np.asarray(quality, np.uint8)
        self.variants = dict(subject.manifest.default_variant)
        self.spent: dict[str, list[float]] = {"encode": [], "decode": []}
        self.packets: list[bytes] = []
        variant = self.variants["encoder"]
        self.encoder, self.analysis = subject.session("encoder", variant), subject.session("analysis", variant)
        self.pack = subject.session("pack", "exact")
        self.decoder = subject.session("decoder", self.variants["decoder"])

    def write(self, pictures: Sequence[Picture]) -> None:
        """The bundle's own files, and each picture with its latents, its packet and what comes of that."""
        (self.folder / FAMILY).mkdir()
        models = {}
        for role, variant in (("pack", None), ("unpack", None), *self.variants.items()):
            name = role if variant is None else f"{role}.{variant}"
            models[name] = f"{FAMILY}/{name}.onnx"
            (self.folder / models[name]).write_bytes(self.subject.bundle.read_model(role, variant or "exact"))
        index = {FAMILY: {"models": models, "inputs": [self.write_picture(*entry) for entry in enumerate(pictures)]}}
        (self.folder / "index.json").write_text(json.dumps(index))

    def write_picture(self, at: int, picture: Picture) -> dict[str, Any]:
        """One input, encoded and decoded here on the way."""
        known = {"input": picture, "quality": self.quality, "size": np.asarray(picture.shape, np.int64)}
        latents = measure.run_known(self.analysis, known)
        packed = measure.run_known(self.pack, known | {"latents": latents})
        packet = self.timed("encode", lambda: measure.run_known(self.encoder, known))
        self.packets.append(packet.tobytes())
        output = self.timed("decode", lambda: self.decoder.run(["output"], {"packet": packet})[0])
        stem = f"{FAMILY}/{at:03d}"
        return {
            "input": write_array(self.folder, f"{stem}.input", picture),
            "latents": write_array(self.folder, f"{stem}.latents", latents),
            f"output.{self.variants['decoder']}": write_array(self.folder, f"{stem}.output", output),
            "quality": int(self.quality),
            "size": list(picture.shape),
            "packet": digest(packed),
        }

    def timed(self, direction: str, work: Callable[[], Any]) -> Any:
        """A result, its time noted."""
        milliseconds, result = clock(work)
        self.spent[direction].append(milliseconds)
        return result


class Browser:
    """Runs tasks of the matrix's cells in Chromium."""

    def __init__(self, work: Path, corpus: Path) -> None:
        self.work, self.corpus, self.command = work, corpus, environments.browser(work)

    def __call__(self, job: str, task: dict[str, Any], data: Path) -> tuple[dict[str, Any], str]:
        """(The answer, the version of ONNX Runtime)."""
        asked, answered = self.work / f"{job}.tasks.json", self.work / f"{job}.answers.json"
        asked.write_text(json.dumps([{"family": FAMILY, "level": "all", "threads": 1, **task}]))
        subprocess.run([*self.command, job, *map(str, (self.corpus, asked, answered, data))], check=True)
        found = json.loads(answered.read_text())
        return found["answers"][0], found["onnxruntime"]


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--bundle", default="photo", help="bundle or ready codec")
    parser.add_argument("--quality", type=int, default=96, help="about 0.5 bits per pixel for the ready codec")
    parser.add_argument("--images", type=Path, default=Path(os.environ.get("LATENTWIRE_DATA", ".")) / "kodak")
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(Path(folder), Subject(open_bundle(arguments.bundle)), arguments.quality, pictures)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if figures["packets_of_the_same_latents_that_differ"]:
        sys.exit("the same latents gave other bytes")


def compare(work: Path, subject: Subject, quality: int, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Both sides over all pictures."""
    (work / "corpus").mkdir()
    corpus = Corpus(work / "corpus", subject, quality)
    corpus.write(pictures)
    inputs = json.loads((corpus.folder / "index.json").read_text())[FAMILY]["inputs"]
    browser, sent, pool = Browser(work, corpus.folder), work / "sent", work / "pool"
    task = {"variants": [corpus.variants["encoder"]], "inputs": list(range(len(pictures)))}
    encoded, version = browser("encode", task, sent)
    pool.write_bytes(b"".join(corpus.packets))
    ends = np.cumsum([len(packet) for packet in corpus.packets])
    entries = [
        {"offset": int(end) - len(packet), "bytes": len(packet), "input": at, "output": True}
        for at, (end, packet) in enumerate(zip(ends, corpus.packets, strict=True))
    ]
    decoded, _ = browser("decode", {"variants": [corpus.variants["decoder"]], "packets": entries}, pool)
    theirs = split(sent.read_bytes(), [line["bytes"] for line in encoded["sent"][corpus.variants["encoder"]]])
    return {
        "machine": machine() | {"browser": version},
        "pictures": len(pictures),
        "quality": quality,
        "bpp": round(8 * sum(map(len, corpus.packets)) / sum(p.shape[0] * p.shape[1] for p in pictures), 4),
        "milliseconds": {
            "browser": {
                "encode": round(encoded["milliseconds"][corpus.variants["encoder"]], 1),
                "decode": round(decoded["milliseconds"][corpus.variants["decoder"]], 1),
            },
            "python": {name: round(statistics.median(spent), 1) for name, spent in corpus.spent.items()},
        },
        "packets_of_the_same_latents_that_differ": sum(
            found != entry["packet"] for found, entry in zip(encoded["packed"], inputs, strict=True)
        ),
        "packets_of_the_same_picture_that_differ": sum(a != b for a, b in zip(theirs, corpus.packets, strict=True)),
        "largest_difference_of_a_level": max(decoded["gaps"][corpus.variants["decoder"]]),
    }


def split(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Pieces of these lengths."""
    ends = np.cumsum(lengths)
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


if __name__ == "__main__":
    main()
