"""The entropy coder in the graph against constriction's ANS coder (Rust), on the same symbols, in one run.

    python benchmarks/entropy_coder.py BUNDLE DATA [--quality 128] [--out FILE]

DATA is an IDX or .npy file of real items. Both sides code the same symbols, ours with the bundle's 12-bit
tables, constriction with a quantized Laplacian a channel whose scale is fitted to these symbols. A side's overhead is
against its own ideal code length, so that it measures the coder and not the model. One thread, medians.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from latentwire.export.factorized import read_tables
from latentwire.export.measure import run_batched
from latentwire.export.verify import Subject
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.files import read_items

RUNS = 7


def main() -> None:
    """Measure both, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("--quality", type=int, default=128)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    subject = Subject(open_bundle(arguments.bundle))
    items = read_items(arguments.data)[: arguments.items]
    rows = items.reshape(len(items), *subject.manifest.input.shape[1:])
    latents = run_batched(subject.session("analysis", "fp32"), "input", rows)
    figures = [graph_coder(subject, latents, arguments.quality), rust_coder(subject, latents, arguments.quality)]
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def median_ms(work: Callable[[], object]) -> float:
    """Median wall time of `RUNS` calls."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def row(name: str, symbols: int, ideal: float, size: int, encode_ms: float, decode_ms: float) -> dict[str, Any]:
    """One line of the comparison."""
    return {
        "coder": name,
        "symbols": symbols,
        "ideal_bytes": round(ideal),
        "bytes": size,
        "overhead_percent": round(100 * (size / ideal - 1), 3),
        "encode_ms": round(encode_ms, 2),
        "decode_ms": round(decode_ms, 2),
    }


def graph_coder(subject: Subject, latents: npt.NDArray[np.float32], quality: int) -> dict[str, Any]:
    """Whole packets: rounding, header and checksum are in the time and in the bytes."""
    shape = (len(latents),)
    coder, tables = subject.coder(), read_tables(subject)
    packet = coder.packet(latents, shape, quality)
    symbols = tables.quantize(latents, quality)
    ideal = float(tables.bits(symbols, quality).sum() / 8)
    coded = int((tables.index[quality] > 0).sum()) * len(latents)
    encode_ms = median_ms(lambda: coder.packet(latents, shape, quality))
    decode_ms = median_ms(lambda: coder.restore(packet))
    return row("latentwire, ONNX Runtime", coded, ideal, len(packet), encode_ms, decode_ms)


def rust_coder(subject: Subject, latents: npt.NDArray[np.float32], quality: int) -> dict[str, Any]:
    """The coder alone, symbols given."""
    tables = read_tables(subject)
    coded = tables.index[quality] > 0
    symbols = tables.quantize(latents, quality)[:, coded].astype(np.int32)
    scale = np.maximum(np.abs(symbols).mean(0), 0.05)
    flat = np.ascontiguousarray(symbols.ravel())
    means, scales = np.zeros(len(flat)), np.tile(scale, len(symbols))
    reach = int(np.abs(flat).max()) + 1
    model = constriction.stream.model.QuantizedLaplace(-reach, reach)

    def encode() -> npt.NDArray[np.uint32]:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(flat, model, means, scales)
        return coder.get_compressed()  # type: ignore[no-any-return]

    words = encode()

    def decode() -> npt.NDArray[np.int32]:
        return constriction.stream.stack.AnsCoder(words).decode(model, means, scales)  # type: ignore[no-any-return]

    if not np.array_equal(decode(), flat):
        raise RuntimeError("constriction's round trip failed")
    ideal = laplace_bits(symbols, scale, reach).sum() / 8
    return row("constriction, Rust", len(flat), float(ideal), 4 * len(words), median_ms(encode), median_ms(decode))


def laplace_bits(symbols: npt.NDArray[np.int32], scale: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """Ideal bits of a Laplacian quantized to unit bins on [-reach, reach]."""
    upper, lower = laplace_cdf((symbols + 0.5) / scale), laplace_cdf((symbols - 0.5) / scale)
    total = laplace_cdf((reach + 0.5) / scale) - laplace_cdf(-(reach + 0.5) / scale)
    return -np.log2((upper - lower) / total)  # type: ignore[no-any-return]


def laplace_cdf(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cumulative distribution of a Laplacian of scale 1."""
    tail = 0.5 * np.exp(-np.abs(value))
    return np.where(value < 0, tail, 1 - tail)


if __name__ == "__main__":
    main()
