"""Autoencoders of other people through `export_codec`: packets, errors and files, into docs/own.md.

    PYTHONPATH=tests python benchmarks/own_autoencoders.py [NAME ...] [--out benchmarks/results/own_autoencoders.json]

Each of `tests/architectures` is trained for a second, exported in fp32 and int8, and run on held-out items. With names,
only these are measured anew. A quarter of an hour on one core.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import ARCHITECTURES, Architecture
from machine import machine

from latentwire.export import export_codec
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle import open_bundle

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "own.md", ROOT / "benchmarks" / "results" / "own_autoencoders.json"
START, END = "<!-- table: benchmarks/own_autoencoders.py -->", "<!-- end of table -->"
HELD = 96
QUALITIES = (100, 255)


def main() -> None:
    """Measure, keep the figures, write the table."""
    arguments = sys.argv[1:]
    out = Path(arguments.pop(arguments.index("--out") + 1)) if "--out" in arguments else RESULTS
    names = {argument for argument in arguments if argument != "--out"}
    torch.set_num_threads(1)
    known = json.loads(out.read_text(encoding="utf-8"))["architectures"] if out.exists() and names else {}
    for entry in ARCHITECTURES:
        if not names or entry.name in names:
            known[entry.name] = measure(entry)
            print(entry.name, json.dumps(known[entry.name]), flush=True)
            result = {"machine": machine(), "architectures": known}
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_page(known)


def measure(entry: Architecture) -> dict[str, Any]:
    """Everything about one architecture."""
    case = entry.case()
    held = case.items[-HELD:]
    alone = float(np.square(case.networks(held) - held).mean())
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        exported = export_codec(
            case.model, case.items, Path(folder, "codec"), precisions=("fp32", "int8"), holdout=held, **entry.options
        )
        seconds = time.process_time() - began
        files = {(file.role, file.variant) for file in open_bundle(exported.path).manifest.files}
        figures: dict[str, Any] = {}
        for variant in ("fp32", "int8"):
            sides = {role: variant if (role, variant) in files else "fp32" for role in ("encoder", "decoder")}
            encoder = Encoder(exported.path, variant=sides["encoder"])
            decoder = Decoder(exported.path, variant=sides["decoder"])
            figures[variant] = {"sides": sides, "points": [point(encoder, decoder, held, alone, q) for q in QUALITIES]}
        sizes = {f"{role}.{variant}": size(exported.path, role, variant) for role, variant in sorted(files)}
    return {
        "what": entry.what,
        "code": entry.code,
        "lines": entry.code.count("\n") + 1,
        "item_bytes": held[0].nbytes,
        "variance": float(held.astype(np.float64).var()),
        "alone_mse": alone,
        "export_cpu_seconds": round(seconds, 1),
        "variants": figures,
        "files": sizes,
    }


def point(encoder: Encoder, decoder: Decoder, held: np.ndarray, alone: float, quality: int) -> dict[str, Any]:
    """Bytes an item and the error against that of the networks alone."""
    packet = encoder.encode(held, quality)
    error = float(np.square(decoder.decode(packet).astype(np.float64) - held).mean())
    return {"quality": quality, "bytes": round(len(packet) / len(held), 2), "error": round(error / alone, 5)}


def size(path: Path, role: str, variant: str) -> int:
    """Bytes of one file of a bundle."""
    return (path / f"{role}.{variant}.onnx").stat().st_size


def write_page(results: dict[str, Any]) -> None:
    """Replace the table in docs/own.md."""
    head = (
        "| autoencoder | what its user writes | item, bytes | packet, bytes an item | error of the networks alone "
        "| error, fp32 | error, int8 | decoder, kB: weights in fp32, int8 |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    )
    rows = [row(results[entry.name]) for entry in ARCHITECTURES if entry.name in results]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(before + "\n".join([START, *head, *rows, END]) + after, encoding="utf-8")


def row(figures: dict[str, Any]) -> str:
    """One line of the table."""
    best = {variant: figures["variants"][variant]["points"][-1] for variant in ("fp32", "int8")}
    files = figures["files"]
    small = files.get("decoder.int8")
    cells = [
        figures["what"],
        f"`{figures['code']}`",
        str(figures["item_bytes"]),
        f"{best['fp32']['bytes']:.1f}",
        f"{100 * figures['alone_mse'] / figures['variance']:.1f} %",
        f"{100 * (best['fp32']['error'] - 1):+.2f} %",
        f"{100 * (best['int8']['error'] - 1):+.2f} %",
        f"{files['decoder.fp32'] / 1000:.0f}, {f'{small / 1000:.0f}' if small else 'none'}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
