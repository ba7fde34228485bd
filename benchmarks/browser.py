"""The ready codec for photographs in a real browser: headless Chromium, onnxruntime-web's WebAssembly.

    python benchmarks/browser.py [--out benchmarks/results/browser.json] [--bundle photo] [--images FOLDER]

Takes `$LATENTWIRE_DATA/kodak/*.png`, one after the other, and each through Python (one thread) and the browser in turn:
the encoder of the target `web`, every encoder of the bundle whole and its two pieces, at one quality, and the default
decoder on Python's packet; in the browser the default encoder with two threads too. Medians over the pictures, in
memory, sessions open and warm: by the clock, and of the thread's own processor time, which says more on a busy machine;
`--every 6` is a quick look. Fails if a packet of the same latents has other
bytes in the browser. Needs Chromium and npm, as `make matrix` does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from devtools import Chromium, Page
from machine import machine
from matrix import environments
from rate_distortion import Picture

from latentwire.export import measure
from latentwire.export.targets import open_session, package_bundle
from latentwire.export.verify import Subject
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.files import read_pictures

HERE = Path(__file__).parent
PACKAGED = "encoder.web"
"""The encoder of the target's folder among the models."""
WARM = 3
"""Runs of a session that do not count: V8 compiles again what is hot."""


class Handler(SimpleHTTPRequestHandler):
    """Files, isolated from other origins: threads share memory, and browsers allow that only so."""

    def end_headers(self) -> None:
        """The two headers that it takes."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Address of a folder, with the script and onnxruntime-web in it."""
    (folder / "index.html").write_text("<!doctype html><title>Benchmark</title>")
    (folder / "browser.mjs").symlink_to(HERE / "browser.mjs")
    (folder / "node_modules").symlink_to(environments.JAVASCRIPT / "node_modules")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@dataclass(frozen=True)
class Spent:
    """Milliseconds of one run, by the clock and of its thread's processor time."""

    clock: float
    processor: float


def measured(work: Callable[[], Any], processor: Callable[[], float]) -> tuple[Spent, Any]:
    """What it took, and the result; ``processor`` says the seconds that the working thread has had so far."""
    clock, before = time.perf_counter(), processor()
    result = work()
    after = processor()
    return Spent(1000 * (time.perf_counter() - clock), 1000 * (after - before)), result


class Bench:
    """The same models in Python and in a page."""

    def __init__(self, folder: Path, subject: Subject, quality: int, packaged: bytes) -> None:
        """``packaged`` is the file of the encoder that was packaged for browsers."""
        self.folder, self.subject, self.quality = folder, subject, np.asarray(quality, np.uint8)
        encoders = subject.variants("encoder")
        self.decoder = f"decoder.{subject.manifest.default_variant['decoder']}"
        bundled = [f"{role}.{name}" for name in encoders for role in ("encoder", "analysis")]
        self.put(PACKAGED, packaged)
        self.sessions = {PACKAGED: open_session(packaged)}
        self.sessions |= {name: self.open(name) for name in (*bundled, "pack.exact", self.decoder)}
        self.encoding = [name for name in self.sessions if name != self.decoder]
        self.default = f"{subject.manifest.default_variant['encoder']}"
        self.spent: dict[str, dict[str, list[Spent]]] = defaultdict(lambda: defaultdict(list))
        self.packets: list[int] = []
        self.differ = {name: 0 for name in self.encoding if not name.startswith("analysis")}
        self.gaps: list[int] = []

    def open(self, name: str) -> ort.InferenceSession:
        """A session here; the file goes to the page's folder."""
        role, variant = name.split(".")
        self.put(name, self.subject.bundle.read_model(role, variant))
        return self.subject.session(role, variant)

    def put(self, name: str, data: bytes) -> None:
        """A model's file, for the page; what is in it says whether it is ONNX."""
        (self.folder / f"{name}.model").write_bytes(data)

    def picture(self, page: Page, at: int, picture: Picture) -> None:
        """One picture, each model here and then there."""
        known: dict[str, Any] = {"input": picture, "quality": self.quality, "size": np.asarray(picture.shape, np.int64)}
        known["latents"] = measure.run_known(self.sessions[f"analysis.{self.default}"], known)
        known["packet"] = measure.run_known(self.sessions[f"encoder.{self.default}"], known)
        self.packets.append(known["packet"].size)
        for name in ("input", "latents", "packet"):
            known[name].tofile(self.folder / f"{at}.{name}")
        page.evaluate(f"take({at}, {list(picture.shape)}, {list(known['latents'].shape)}, {int(self.quality)})")
        for name, session in self.sessions.items():
            spent, output = measured(partial(measure.run_known, session, known), time.thread_time)
            self.spent["python"][name].append(spent)
            output.tofile(self.folder / "wanted")
            for threads in (1, 2) if name == f"encoder.{self.default}" else (1,):
                ask = partial(page.evaluate, f"run({threads}, {name!r}, 'wanted')")
                spent, found = measured(ask, partial(page.metric, "ThreadTime"))
                place = "browser" if threads == 1 else f"browser, {threads} threads"
                self.spent[place][name].append(Spent(found["milliseconds"], spent.processor))
                self.compare(name, found, output)

    def compare(self, name: str, found: dict[str, Any], output: Any) -> None:
        """Note what differs from what was made here."""
        if name in self.differ:
            self.differ[name] += found["packet"] != hashlib.sha256(output.tobytes()).hexdigest()
        elif name == self.decoder:
            self.gaps.append(found["gap"])

    def figures(self, part: str) -> dict[str, dict[str, float]]:
        """Medians of the runs that count, by the clock or of processor time."""
        return {
            place: {
                name: round(statistics.median(getattr(spent, part) for spent in runs[WARM:]), 1)
                for name, runs in models.items()
            }
            for place, models in self.spent.items()
        }


def packaged_encoder(codec: str, folder: Path) -> bytes:
    """The encoder's file of what `latentwire package` writes below the folder."""
    (found,) = package_bundle(codec, folder, ["web"])
    (path,) = found.path.glob("models/encoder.*.ort")
    return path.read_bytes()


def compare(folder: Path, codec: str, quality: int, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Both sides over all pictures, the first ones again at the end for those that warmed up."""
    program = environments.browser(folder)[-1]
    bench = Bench(folder, Subject(open_bundle(codec)), quality, packaged_encoder(codec, folder))
    with site(folder) as address, Chromium(program) as browser:
        page = browser.open(address)
        page.evaluate("import('/browser.mjs').then((module) => void Object.assign(window, module))")
        opened = {name: round(page.evaluate(f"open(1, {name!r})")) for name in bench.sessions}
        page.evaluate(f"open(2, 'encoder.{bench.default}')")
        for at, picture in enumerate([*pictures[:WARM], *pictures]):
            bench.picture(page, at, picture)
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    about = json.loads((environments.JAVASCRIPT / "node_modules/onnxruntime-web/package.json").read_text())
    return {
        "machine": machine() | {"browser": f"onnxruntime-web {about['version']}"},
        "pictures": len(pictures),
        "quality": quality,
        "bpp": round(8 * sum(bench.packets[WARM:]) / pixels, 4),
        "milliseconds": bench.figures("clock"),
        "milliseconds_of_processor_time": bench.figures("processor"),
        "milliseconds_to_open": opened,
        "packets_that_differ": bench.differ,
        "largest_difference_of_a_level": max(bench.gaps),
    }


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--bundle", default="photo", help="bundle or ready codec")
    parser.add_argument("--quality", type=int, default=96, help="about 0.5 bits per pixel for the ready codec")
    parser.add_argument("--images", type=Path, default=Path(os.environ.get("LATENTWIRE_DATA", ".")) / "kodak")
    parser.add_argument("--every", type=int, default=1, help="use every so-manieth picture")
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.images)[:: arguments.every]
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(Path(folder), arguments.bundle, arguments.quality, pictures)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if figures["packets_that_differ"]["pack.exact"]:
        sys.exit("the same latents gave other bytes")


if __name__ == "__main__":
    main()
