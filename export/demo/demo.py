"""`latentwire demo`: the whole line on real digits, from training to a device and a server that talk over TCP.

The data are the 1797 digits of 8x8 pixels and 17 grey levels that come with scikit-learn (UCI Optical Recognition of
Handwritten Digits). A fifth of them is held out: only these are measured, sent and drawn.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from latentwire.export import measure
from latentwire.export.demo.rivals import Way, rivals
from latentwire.export.demo.wire import Latency, Wire, over_the_wire
from latentwire.export.dense.family import layout_of
from latentwire.export.factorized import export_codec
from latentwire.export.family import Exported
from latentwire.export.pages import Strip, bytes_text, choose, distortion_text, look_of, psnr, save, strips_page
from latentwire.runtime.atomic import whole_file
from latentwire.train.dense import Dataset, Recipe, Split, TrainedRun, dense_recipe, from_array, load_run, split, train

EPOCHS = 60
HELD_OUT = 0.2
RANGE = (0.0, 16.0)
COMPARED = (64, 128, 192, 255)
ALONE, TOGETHER = 1, 64
MIDDLE = 128
SHOWN = 14
DEVICE_VARIANT, SERVER_VARIANT = "int8", "fp32"
BUNDLE, PICTURE, RESULTS = "bundle", "demo.png", "results.json"
HEADINGS = ("", "alone", "in 64s", "MSE", "PSNR")


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        folder: where bundle, picture and results are.
        codec_id: of the codec that it made.
        items: held-out digits; each made the way over the wire at every quality, alone and in packets of 64.
        variants: of the encoder on the device and the decoder on the server.
        ways: bytes an item and distortion of the codec's qualities and of what else could be sent.
        latencies: at quality 128, in the two processes.
        start_ms: what the device took to load and check the codec.
        parity: the verify report.
        seconds: what each stage took.
    """

    folder: Path
    codec_id: str
    items: int
    variants: tuple[str, str]
    ways: tuple[Way, ...]
    latencies: tuple[Latency, ...]
    start_ms: float
    parity: Mapping[str, Any]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """One document for programs; also in results.json."""
        document = asdict(self) | {"folder": str(self.folder), "parity": dict(self.parity)}
        document["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        return document

    def render(self) -> str:
        """The table, and what to know of it."""
        lines = [
            f"{self.items} held-out digits, codec {self.codec_id[:16]}",
            "",
            *table(self.ways),
            "",
            *(
                f"packets of {entry.batch:2}: median encode {entry.encode_ms:.2f} ms, decode {entry.decode_ms:.2f} ms"
                for entry in self.latencies
            ),
            f"device process: {self.variants[0]} encoder, ready in {self.start_ms:.0f} ms; no torch, no onnx in it",
            f"server process: {self.variants[1]} decoder; every packet arrived; no torch, no onnx in it",
            f"parity: {verdict(self.parity)}",
            "seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items()),
            f"picture: {self.folder / PICTURE}   all figures: {self.folder / RESULTS}   codec: {self.folder / BUNDLE}",
        ]
        return "\n".join(lines)


def run_demo(out: str | Path, *, epochs: int | None = None) -> DemoResult:
    """Train, export, verify, send held-out digits from a device process to a server process, measure, draw.

    Args:
        out: folder for bundle, picture and results, made if it is missing; those of an earlier demo are replaced.
        epochs: of training; 60 by default, some ten seconds.

    Raises:
        ExportError: the codec cannot be built or loses more than it may.
        DemoError: a process failed, or imported what a device does not have.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    data = digits()
    held = held_out(data)
    with stage("train", f"a rate codec on {len(data.train)} digits", seconds), TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        train(recipe(data.train, epochs or EPOCHS), data, run)
        trained = load_run(run)
    with stage("export", f"fp32 and int8, and verify on {len(held)} held-out digits", seconds):
        exported = export_digits(trained, data.train, held, folder / BUNDLE)
    with stage("wire", "device process to server process", seconds):
        wire = send(exported.path, held)
    with stage("compare", "with floats, zlib, PNG and WebP", seconds):
        ways = (*rivals(exported.path, held.items, TOGETHER), *codec_ways(wire, held))
        draw(ways, wire, held, folder / PICTURE)
    result = result_of(folder, exported, wire, ways, held, seconds)
    with whole_file(folder / RESULTS) as file:
        file.write(json.dumps(result.to_json(), indent=1).encode())
    return result


def export_digits(trained: TrainedRun, calibration: Dataset, held: Dataset, out: Path) -> Exported:
    """The bundle, verified on the held-out digits."""
    return export_codec(
        (trained.encoder, trained.decoder),
        calibration.items,
        out,
        name="digits",
        family=layout_of(trained),
        steps=trained.steps,
        precisions=("fp32", "int8"),
        holdout=held.items,
        training=trained.provenance,
        calibration={"source": "sklearn.datasets.load_digits"},
        overwrite=True,
    )


def send(bundle: Path, held: Dataset) -> Wire:
    """The held-out digits from one process to another, at every quality, alone and in packets of 64."""
    return over_the_wire(
        bundle,
        held.items,
        COMPARED,
        (ALONE, TOGETHER),
        device_variant=DEVICE_VARIANT,
        server_variant=SERVER_VARIANT,
    )


@contextmanager
def stage(name: str, what: str, seconds: dict[str, float]) -> Iterator[None]:
    """Says on stderr what is going on, and keeps the time that it took."""
    print(f"{name}: {what}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def digits() -> Split:
    """The digits as vectors uint8 [N, 64] of 0..16, a fifth held out."""
    bunch = load_digits()
    return split(from_array(bunch.images.astype(np.uint8), RANGE, bunch.target), HELD_OUT, seed=0)


def held_out(data: Split) -> Dataset:
    """The held-out digits, the ten classes in turn."""
    if data.validation is None:
        return data.train
    return data.validation.subset(choose(len(data.validation), data.validation.labels, seed=0))


def recipe(data: Dataset, epochs: int) -> Recipe:
    """A codec of the seeds' code width, small enough for 1438 digits."""
    return dense_recipe(
        "codec",
        "rate",
        item_shape=data.item_shape,
        network={"hidden": (128, 128), "latent": 32, "decoder_hidden": (128, 128)},
        objective_settings={"loses": (0.6, 0.006)},
        loop={"epochs": epochs, "batch": 64, "warmup": 50, "average": 0.99},
    )


def codec_ways(wire: Wire, held: Dataset) -> Iterator[Way]:
    """One line of the table for each quality; the distortion is that of the packets of 64."""
    for quality in COMPARED:
        alone, together = (wire.flow(quality, batch) for batch in (ALONE, TOGETHER))
        error = measure.mse(held.items, together.items, held.contract)
        yield Way(f"latentwire, quality {quality}", alone.bytes_per_item, together.bytes_per_item, error)


def result_of(
    folder: Path, exported: Exported, wire: Wire, ways: tuple[Way, ...], held: Dataset, seconds: dict[str, float]
) -> DemoResult:
    """All findings in one record."""
    return DemoResult(
        folder,
        exported.codec_id,
        len(held),
        (DEVICE_VARIANT, SERVER_VARIANT),
        ways,
        tuple(wire.flow(MIDDLE, batch).latency for batch in (ALONE, TOGETHER)),
        wire.start_ms,
        exported.parity,
        dict(seconds),
    )


def table(ways: tuple[Way, ...]) -> Iterator[str]:
    """Aligned lines: bytes a digit alone and in packets of 64, distortion."""
    rows = [HEADINGS, *(cells(way) for way in ways)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    yield f"{'':{widths[0]}}  bytes a digit"
    for row in rows:
        yield f"{row[0]:{widths[0]}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))


def cells(way: Way) -> tuple[str, ...]:
    """One line of the table."""
    error = (f"{way.mse:.5f}", f"{psnr(way.mse):.1f} dB") if way.mse else ("0", "lossless")
    return (way.name, f"{way.alone:.1f}", f"{way.together:.1f}", *error)


def verdict(parity: Mapping[str, Any]) -> str:
    """The verify report in a line."""
    checks = parity["checks"]
    passed = sum(bool(check["passed"]) for check in checks)
    return f"{'holds' if parity['passed'] else 'FAILED'}, {passed} of {len(checks)} checks on {parity['items']} digits"


def draw(ways: tuple[Way, ...], wire: Wire, held: Dataset, path: Path) -> None:
    """Originals, and what the server had in hand for them at each quality."""
    sizes = {way.name: way for way in ways}
    best = min((way for way in ways if way.mse == 0), key=lambda way: way.together)
    strips = [
        Strip("original", f"{held.items[0].nbytes} B raw\n{bytes_text(best.together)} {best.name}", held.items[:SHOWN])
    ]
    for quality in COMPARED:
        way = sizes[f"latentwire, quality {quality}"]
        detail = f"{bytes_text(way.together)} a digit\n{distortion_text(way.mse)}"
        strips.append(Strip(f"quality {quality}", detail, wire.flow(quality, TOGETHER).items[:SHOWN]))
    subtitle = (
        f"Held-out digits in packets of {TOGETHER}: from the device process ({DEVICE_VARIANT} encoder) "
        f"to the server process ({SERVER_VARIANT} decoder)"
    )
    save(strips_page("Digits over the wire", subtitle, strips, look_of(held.contract, held.item_shape)), path)
