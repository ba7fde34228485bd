"""What an export costs: memory and time of a convolutional autoencoder's, fp32 and int8, each in a process of its own.

The network is of the usual kind: pictures [N, 3, 32, 32] to latents [N, 64, 8, 8] and back, strided convolutions with
batch norm on one side and transposed ones on the other, half a million parameters. It is trained for a moment, so that
its latents are no noise.

    python benchmarks/export_cost.py --out benchmarks/results/export_cost.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

ITEMS = 1280
STEPS = 40


def networks() -> tuple[Any, Any]:
    """Encoder and decoder, about half a million parameters together."""
    from torch import nn

    encoder = nn.Sequential(
        *(nn.Conv2d(3, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 128, 4, 2, 1), nn.BatchNorm2d(128), nn.ReLU()),
        nn.Conv2d(128, 64, 3, 1, 1),
    )
    decoder = nn.Sequential(
        *(nn.Conv2d(64, 128, 3, 1, 1), nn.BatchNorm2d(128), nn.ReLU()),
        *(nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 3, 3, 1, 1), nn.Sigmoid()),
    )
    return encoder, decoder


def pictures() -> Any:
    """Smooth colour pictures float32 [1280, 3, 32, 32] between 0 and 1."""
    import torch
    from torch.nn import functional

    coarse = torch.rand(ITEMS, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)


def export_once(precisions: str) -> dict[str, Any]:
    """Train for a moment, export, and say what that took; run in a process of its own."""
    import torch

    from latentwire.export import export_codec

    torch.manual_seed(0)
    torch.set_num_threads(2)
    (encoder, decoder), items = networks(), pictures()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, 2e-3)
    for step in range(STEPS):
        batch = items[step * 32 % ITEMS :][:32]
        loss = (decoder(encoder(batch)) - batch).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    before, start, worked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()

    def tell(stage: str) -> None:
        spent = time.perf_counter() - start, time.process_time() - worked
        print(f"{spent[0]:.1f} s, of processors {spent[1]:.1f} s: {stage}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "codec"
        halves = (encoder.eval(), decoder.eval())
        export_codec(halves, items.numpy(), out, precisions=precisions.split(","), on_stage=tell)
        seconds = time.perf_counter() - start
        sizes = {path.name: path.stat().st_size for path in sorted(out.glob("*.onnx"))}
        facts = json.loads((out / "manifest.json").read_text())["provenance"]["calibration"]
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - worked, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_before_export_mib": before // 1024,
        "layers_kept_float": facts["layers_kept_float"],
        "notes": facts.get("notes", []),
        "bytes": sizes,
    }


def measured(precisions: str, times: int) -> dict[str, Any]:
    """Medians of several exports, each in a process of its own."""
    command = [sys.executable, __file__, "--once", precisions]
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        for _ in range(times)
    ]
    return {
        **runs[-1],
        **{key: statistics.median(run[key] for run in runs) for key in ("seconds", "processor_seconds", "peak_mib")},
    }


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="exports that the medians are of")
    parser.add_argument("--once", help="internal: one export of these precisions in this process")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(export_once(options.once)))
        return
    exports = {name: measured(name, options.times) for name in ("fp32", "fp32,int8")}
    result = json.dumps({"machine": machine(), "times": options.times, "exports": exports}, indent=2)
    print(result)
    if options.out:
        options.out.write_text(result + "\n")


if __name__ == "__main__":
    main()
