"""The ready codec `mnist` against what else a user would do with MNIST's test images, both sides in one run.

    python benchmarks/mnist_codec.py [--out benchmarks/results/mnist_codec.json]

Reads the IDX files from `$LATENTWIRE_DATA/mnist`. Sizes are of whole packets, header and checksum included; errors are
mean squared errors of all 10 000 test images with pixels scaled to [0, 1]. Rivals at the same error: principal
components through the same entropy coder, lossy WebP and JPEG; lossless: zlib, PNG, WebP; and the raw float32 code of
the seed network (32 values).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import machine
from PIL import Image

from latentwire.export import export_codec
from latentwire.export.factorized import read_tables
from latentwire.export.measure import run_batched
from latentwire.export.verify import Subject
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.files import read_idx

CODEC = "mnist"
TARGET = 0.0064
"""The error that the seed's second program reaches with 32 float32 values."""
SEED_BYTES = 32 * 4
PACKET = 64
PCA_CHANNELS = 150
RUNS = 2000

Images = npt.NDArray[np.uint8]


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("LATENTWIRE_DATA", ".")) / "mnist"
    test = read_idx(folder / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    train = read_idx(folder / "train-images-idx3-ubyte.gz").reshape(-1, 784)
    figures = {
        "machine": machine(),
        "size_at_target": {"mse": TARGET} | sizes(test, train),
        "curve": curve(test),
        "coder_overhead": overhead(test),
        "latency": latency(test),
    }
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def error(images: Images, restored: Images) -> float:
    """Mean squared error, pixels scaled to [0, 1]."""
    return float(np.square((images.astype(np.float64) - restored) / 255).mean())


def round_trip(codec: str | Path, images: Images, quality: int, batch: int = PACKET) -> tuple[float, float]:
    """(bytes an image, error) through the default encoder and decoder."""
    encoder, decoder = Encoder(codec), Decoder(codec)
    packets = [encoder.encode(images[i : i + batch], quality) for i in range(0, len(images), batch)]
    restored = np.concatenate([decoder.decode(packet) for packet in packets])
    return sum(map(len, packets)) / len(images), error(images, restored)


def quality_for(codec: str | Path, images: Images) -> int:
    """The lowest quality whose error is within the target, by bisection (the error falls with quality)."""
    low, high = 0, 255
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if round_trip(codec, images, middle)[1] <= TARGET else (middle + 1, high)
    if round_trip(codec, images, low)[1] > TARGET:
        raise RuntimeError(f"{codec} does not reach an error of {TARGET} at any quality")
    return low


def sizes(test: Images, train: Images) -> dict[str, Any]:
    """Bytes an image at the target error, ours and theirs."""
    quality = quality_for(CODEC, test)
    ours = {f"packets_of_{batch}": round_trip(CODEC, test, quality, batch)[0] for batch in (PACKET, 1)}
    with tempfile.TemporaryDirectory() as folder:
        linear = Path(folder) / "linear"
        export_codec(principal_components(train), train, linear)
        linear_quality = quality_for(linear, test)
        linear_sizes = {f"packets_of_{n}": round_trip(linear, test, linear_quality, n)[0] for n in (PACKET, 1)}
    return {
        "latentwire": {"quality": quality, "mse": round_trip(CODEC, test, quality)[1], **ours},
        "principal_components": {"quality": linear_quality, **linear_sizes},
        "seed_float32_code": SEED_BYTES,
        "lossy": {name: lossy(test[:1000], name) for name in ("WEBP", "JPEG")},
        "lossless": lossless(test[:1000]),
    }


def principal_components(images: Images) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """The linear autoencoder of least error, in closed form."""
    values = torch.tensor(images[:20000]) / 255
    mean = values.mean(0)
    basis = torch.linalg.eigh((values - mean).T @ (values - mean))[1].flip(1)[:, :PCA_CHANNELS].T
    encoder, decoder = torch.nn.Linear(784, PCA_CHANNELS), torch.nn.Linear(PCA_CHANNELS, 784)
    with torch.no_grad():
        encoder.weight.copy_(basis)
        encoder.bias.copy_(-basis @ mean)
        decoder.weight.copy_(basis.T)
        decoder.bias.copy_(mean)
    return encoder, decoder


def saved(image: Images, form: str, options: dict[str, Any]) -> bytes:
    """One image in a format of Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(image.reshape(28, 28)).save(buffer, form, **options)
    return buffer.getvalue()


def lossy(images: Images, form: str) -> float:
    """Mean bytes of the lowest quality whose error is within the target."""
    extra = {"method": 6} if form == "WEBP" else {"optimize": True}
    for quality in range(0, 101, 2):
        files = [saved(image, form, {"quality": quality, **extra}) for image in images]
        restored = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")).ravel() for file in files])
        if error(images, restored) <= TARGET:
            return sum(map(len, files)) / len(files)
    raise RuntimeError(f"{form} does not reach an error of {TARGET} at any quality")


def lossless(images: Images) -> dict[str, float]:
    """Mean bytes an image."""
    grouped = sum(len(zlib.compress(images[i : i + PACKET].tobytes(), 9)) for i in range(0, len(images), PACKET))
    files: dict[str, Callable[[Images], bytes]] = {
        "zlib": lambda image: zlib.compress(image.tobytes(), 9),
        "png": lambda image: saved(image, "PNG", {"optimize": True}),
        "webp": lambda image: saved(image, "WEBP", {"lossless": True, "method": 6}),
    }
    means = {name: sum(len(write(image)) for image in images) / len(images) for name, write in files.items()}
    return means | {f"zlib_of_{PACKET}": grouped / len(images)}


def curve(test: Images) -> list[dict[str, float]]:
    """Rate and error over the quality range, packets of 64."""
    points = []
    for quality in (0, 32, 64, 96, 128, 160, 192, 224, 255):
        size, mse = round_trip(CODEC, test, quality)
        points.append({"quality": quality, "bytes": size, "mse": mse})
    return points


def overhead(test: Images) -> list[dict[str, float]]:
    """Whole packets against the ideal code length of their symbols, for small and large packets."""
    subject = Subject(open_bundle(CODEC))
    tables, coder, analysis = read_tables(subject), subject.coder(), subject.session("analysis", "fp32")
    found = []
    for items in (1, PACKET, 1000, 10000):
        latents = run_batched(analysis, "input", test[:items])
        packet = coder.packet(latents, (items,), 128)
        ideal = float(tables.bits(tables.quantize(latents, 128), 128).sum()) / 8
        width = 1 << (int(packet[8]) >> 4 & 3)
        payload = len(packet) - 9 - 2 * width - 4
        found.append({"items": items, "ideal_bytes": ideal, "payload_bytes": payload, "packet_bytes": len(packet)})
    return found


def latency(test: Images) -> dict[str, Any]:
    """Medians in ms, device profile (one thread), one image after the other; and what starting costs."""
    result: dict[str, Any] = {"import_runtime_ms": import_ms()}
    for variant in open_bundle(CODEC).manifest.variants("encoder"):
        encoder, decoder = Encoder(CODEC, variant=variant), Decoder(CODEC, variant=variant)
        packets = [encoder.encode(image) for image in test[:RUNS]]
        result[variant] = {
            "session_start_ms": median([timed(start_encoder, variant) for _ in range(9)]),
            "encode_ms": median([timed(encoder.encode, image) for image in test[:RUNS]]),
            "decode_ms": median([timed(decoder.decode, packet) for packet in packets]),
        }
    result["png_encode_ms"] = median([timed(saved, image, "PNG", {}) for image in test[:RUNS]])
    result["zlib_encode_ms"] = median([timed(zlib.compress, image.tobytes(), 9) for image in test[:RUNS]])
    return result


def start_encoder(variant: str) -> Encoder:
    """What a device does once."""
    return Encoder(CODEC, variant=variant)


def median(milliseconds: list[float]) -> float:
    """The median."""
    return float(np.median(milliseconds))


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    work(*arguments)
    return 1e3 * (time.perf_counter() - began)


def import_ms() -> float:
    """Median of importing the runtime in fresh interpreters, the interpreter's own start not counted."""
    code = "import time; t = time.perf_counter(); import latentwire.runtime; print(time.perf_counter() - t)"
    found = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) for _ in range(5)
    ]
    return 1e3 * float(np.median(found))


if __name__ == "__main__":
    main()
