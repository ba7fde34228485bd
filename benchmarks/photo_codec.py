"""The ready codecs for photographs on the 24 Kodak pictures against what Pillow writes, both sides in one run.

    python benchmarks/photo_codec.py [--out benchmarks/results/photo_codec.json] [--other photo-ms-ssim]

Reads `$LATENTWIRE_DATA/kodak/*.png` unless told otherwise. Rates are whole packets; curves are means over the pictures;
rate differences are Bjontegaard's, over the common range of quality. Times are medians over the pictures at the setting
nearest to 0.5 bits per pixel, pictures and packets in memory, sessions open. `--weights` adds what needs the trained
network: the probability model in whole numbers against the same in floats, and an fp16 encoder among those whose
symbols are compared. Fails if a symbol does not come back.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from machine import machine
from rate_distortion import MEASURES, Codec, Picture, Plot, Point, curve, difference, pillow

from latentwire.export import measure
from latentwire.export.graph import estimating
from latentwire.export.image import make_transforms
from latentwire.export.verify import EXACT, LEVELS, Subject
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.files import read_pictures
from latentwire.train.image import ImageNetwork, rate_difference, read_network, validate

CURVE = (0, 24, 48, 72, 96, 128, 160, 192, 224, 255)
MIDDLE_BPP = 0.5
RIVALS = (
    pillow("JPEG", "JPEG", (5, 10, 20, 30, 50, 70, 80, 90, 95)),
    pillow("WebP, method 4", "WEBP", (1, 10, 30, 50, 70, 80, 90, 96), method=4),
    pillow("AVIF, speed 10", "AVIF", (15, 25, 35, 45, 55, 65, 75, 85), speed=10),
)
SLOW = pillow("AVIF, speed 6", "AVIF", (15, 25, 35, 45, 55, 65, 75, 85), speed=6)


def main() -> None:
    """Measure, print, and write figures and plot if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write, a PNG beside it")
    parser.add_argument("--bundle", default="photo", help="bundle or ready codec")
    parser.add_argument("--other", nargs="*", default=[], help="others of ours, curves only")
    parser.add_argument("--weights", type=Path, help="run folder or checkpoint that the bundle was exported from")
    parser.add_argument("--images", type=Path, default=Path(os.environ.get("LATENTWIRE_DATA", ".")) / "kodak")
    parser.add_argument("--every", type=int, default=1, help="use every so-manieth picture")
    parser.add_argument("--fast", action="store_true", help="leave AVIF at speed 6 out")
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.images)[:: arguments.every]
    subject = subject_of(arguments.bundle)
    rivals = RIVALS if arguments.fast else (*RIVALS, SLOW)
    ours = {name: codec_of(subject, name) for name in subject.variants("encoder")}
    others = [codec_of(other, other.manifest.default_variant["encoder"]) for other in map(subject_of, arguments.other)]
    curves = {}
    for codec in (*rivals, *ours.values(), *others):
        say(f"curve of {codec.name}")
        curves[codec.name] = curve(codec, pictures)
    default = ours[subject.manifest.default_variant["encoder"]]
    say("times")
    figures: dict[str, Any] = {"machine": machine(), "pictures": len(pictures)}
    figures["milliseconds"] = times(subject, curves, rivals, pictures)
    figures["encoder_memory_mib"] = memory(arguments.bundle)
    say("symbols")
    figures |= {
        "curves": {name: [point.to_json() for point in points] for name, points in curves.items()},
        "bd_rate_percent": {codec.name: differences(curves, codec.name) for codec in (default, *others)},
        "estimate": estimate(subject, pictures),
        "bytes": {f"{role} {variant}": entry.size for role, variant, entry in files(subject)},
    }
    if arguments.weights:
        figures["integer_model_percent"] = integer_model(read_network(arguments.weights), pictures)
    figures["mismatched_symbols"] = mismatches(subject, pictures, arguments.weights)
    print(json.dumps({name: value for name, value in figures.items() if name != "curves"}, indent=1))
    print_curves(curves)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        title = f"{len(pictures)} pictures, real bytes"
        arguments.out.with_suffix(".png").write_bytes(Plot(curves, title).png())
    if any(figures["mismatched_symbols"].values()):
        sys.exit("symbols did not come back")


def subject_of(bundle: str) -> Subject:
    """A bundle, or a ready codec."""
    return Subject(open_bundle(bundle))


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


def codec_of(subject: Subject, variant: str) -> Codec:
    """The assemblies as a codec: this encoder, the fp32 decoder."""
    encoder = subject.session("encoder", variant, threads=2)
    decoder = subject.session("decoder", "fp32", threads=2)

    def encode(picture: Picture, setting: int) -> bytes:
        feed = {"input": picture, "quality": np.asarray(setting, np.uint8)}
        return encoder.run(["packet"], feed)[0].tobytes()  # type: ignore[no-any-return]

    def decode(data: bytes) -> Picture:
        output, status = decoder.run(["output", "status"], {"packet": np.frombuffer(data, np.uint8)})
        if status:
            sys.exit(f"a packet was refused with status {int(status)}")
        return output  # type: ignore[no-any-return]

    return Codec(f"latentwire {subject.manifest.name}, {variant}", CURVE, encode, decode)


def differences(curves: dict[str, list[Point]], ours: str) -> dict[str, dict[str, float]]:
    """Rate of one of ours against every other curve, by each measure."""
    return {
        name: {measured: round(difference(points, curves[ours], measured), 2) for measured in MEASURES}
        for name, points in curves.items()
        if name != ours
    }


def estimate(subject: Subject, pictures: Sequence[Picture]) -> list[dict[str, float]]:
    """Ideal code length of all coded symbols (from the encoder's own tables) against packet bytes."""
    pieces, tap = subject.pieces(threads=2), subject.tap()
    rows = []
    for quality in CURVE:
        ideal = real = pixels = 0.0
        for picture in pictures:
            sent = tap.send(pieces.latents(picture, quality), picture.shape, quality)
            ideal, real = ideal + sent.ideal_bits, real + 8 * sent.packet.size
            pixels += picture.shape[0] * picture.shape[1]
        rows.append(
            {"quality": quality, "bpp": round(real / pixels, 4), "excess_percent": round(100 * (real / ideal - 1), 2)}
        )
    return rows


def times(
    subject: Subject, curves: dict[str, list[Point]], rivals: Sequence[Codec], pictures: Sequence[Picture]
) -> dict[str, Any]:
    """Medians in milliseconds at about 0.5 bits per pixel."""
    found: dict[str, Any] = {}
    for rival in rivals:
        setting = middle(curves[rival.name])
        found[rival.name] = timed(rival.encode, rival.decode, setting, pictures) | {"threads": "its own"}
    for variant in subject.variants("encoder"):
        name = f"latentwire {subject.manifest.name}, {variant}"
        setting = middle(curves[name])
        for threads in (1, 2):
            found[f"{name}, {threads} threads"] = session_times(subject, variant, setting, threads, pictures)
    return found


def session_times(
    subject: Subject, variant: str, quality: int, threads: int, pictures: Sequence[Picture]
) -> dict[str, float]:
    """Encoder, decoder and their pieces, one after the other over all pictures.

    Taken in turns, they would disturb each other: the threads of a session spin for a while after its work is done.
    """
    pieces = subject.pieces(variant, threads=threads)
    estimator = measure.session(estimating(onnx.load_from_string(subject.bundle.read_model("pack", "exact"))), threads)
    encoder = subject.session("encoder", variant, threads=threads)
    decoder = subject.session("decoder", "fp32", threads=threads)
    scalar = np.asarray(quality, np.uint8)
    encode, packets = clocks(
        lambda picture: encoder.run(["packet"], {"input": picture, "quality": scalar})[0], pictures
    )
    decode, _ = clocks(lambda packet: decoder.run(["output"], {"packet": packet}), packets)
    analysis, latents = clocks(lambda picture: pieces.latents(picture, quality), pictures)
    feeds = [
        {"latents": values, "quality": scalar, "size": np.asarray(picture.shape)}
        for values, picture in zip(latents, pictures, strict=True)
    ]
    pack, _ = clocks(lambda feed: pieces.coder.pack.run(None, feed), feeds)
    model, _ = clocks(lambda feed: estimator.run(None, feed), feeds)
    unpack, unpacked = clocks(pieces.coder.restore, packets)
    synthesis, _ = clocks(lambda values: measure.run_known(pieces.synthesis, values), unpacked)
    spent = {
        "encode": encode,
        "decode": decode,
        "analysis": analysis,
        "probability model": model,
        "coder": [whole - part for whole, part in zip(pack, model, strict=True)],
        "unpack": unpack,
        "synthesis": synthesis,
    }
    return {name: round(statistics.median(times), 1) for name, times in spent.items()}


def clocks(work: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[float], list[Any]]:
    """`clock` of the work on each item: (times, results)."""
    spent, results = zip(*(clock(lambda i=item: work(i)) for item in items), strict=True)  # type: ignore[misc]
    return list(spent), list(results)


def timed(
    encode: Callable[[Picture, int], bytes],
    decode: Callable[[bytes], Picture],
    setting: int,
    pictures: Sequence[Picture],
) -> dict[str, Any]:
    """Medians of both directions."""
    rows = []
    for picture in pictures:
        there, data = clock(lambda p=picture: encode(p, setting))  # type: ignore[misc]
        rows.append((there, clock(lambda d=data: decode(d))[0]))  # type: ignore[misc]
    there, back = (round(statistics.median(column), 1) for column in zip(*rows, strict=True))
    return {"encode": there, "decode": back}


def clock(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """(Median time in milliseconds, the last result)."""
    spent, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent), result


def middle(points: Sequence[Point]) -> int:
    """The setting whose rate is nearest to 0.5 bits per pixel."""
    return min(points, key=lambda point: abs(point.bpp - MIDDLE_BPP)).setting


def files(subject: Subject) -> list[tuple[str, str, Any]]:
    """(Role, variant, manifest entry) of the assemblies."""
    return [(f.role, f.variant, f) for f in subject.manifest.files if f.role in ("encoder", "decoder")]


def memory(bundle: str) -> float:
    """MiB that opening the default encoder and encoding one 768x512 picture adds to the imported runtime."""
    script = (
        "import sys, numpy, onnxruntime\n"
        "from latentwire.runtime import Encoder\n"
        # The kernel's own mark: getrusage would carry over the peak of the process that started this one.
        "lines = lambda: open('/proc/self/status').read().splitlines()\n"
        "peak = lambda: int(next(line for line in lines() if line.startswith('VmHWM')).split()[1])\n"
        # Noise: every symbol is coded, which no photograph does.
        "picture = numpy.random.default_rng(0).integers(0, 256, (512, 768, 3), 'uint8')\n"
        "before = peak()\n"
        "Encoder(sys.argv[1]).encode(picture)\n"
        "print((peak() - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    return round(float(done.stdout), 1)


def mismatches(subject: Subject, pictures: Sequence[Picture], weights: Path | None) -> dict[str, int]:
    """Symbols that differ after decoding, by encoder variant, over one and two threads and all optimisation levels."""
    tap, found = subject.tap(), {}
    readers = [subject.coder(threads=threads, level=level) for level in LEVELS.values() for threads in (1, 2)]
    analyses = {name: subject.session("analysis", name) for name in subject.variants("analysis")}
    if weights:
        analyses["fp16"] = measure.session(
            make_transforms(read_network(weights), pictures[:1], ("fp32", "fp16"))[0]["fp16"]
        )
    for name, analysis in analyses.items():
        found[name] = 0
        for picture, quality in itertools.product(pictures, EXACT):
            feed = {"input": picture, "quality": np.asarray(quality, np.uint8)}
            sent = tap.send(analysis.run(None, feed)[0], picture.shape, quality)
            found[name] += sum(sent.lost(reader.restore(sent.packet)) for reader in readers)
    return found


def integer_model(network: ImageNetwork, pictures: Sequence[Picture]) -> float:
    """Ideal rate of the probability model in whole numbers against the same weights in floats, at equal PSNR."""
    photos = [torch.tensor(picture).permute(2, 0, 1) for picture in pictures]
    exact, floating = (validate(network, photos, "mse", exact=exact) for exact in (True, False))
    return round(100 * rate_difference(floating, exact), 2)


def print_curves(curves: dict[str, list[Point]]) -> None:
    """The curves as text."""
    for name, points in curves.items():
        print(name + ": " + "  ".join(f"{p.bpp:.3f}/{p.psnr:.2f}/{p.ms_ssim:.4f}" for p in points))


if __name__ == "__main__":
    main()
