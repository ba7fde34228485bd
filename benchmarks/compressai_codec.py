"""Bundles made of CompressAI models against CompressAI itself: the same weights, pictures and CPU, in one run.

    python benchmarks/compressai_codec.py PICTURES BUNDLE=CLASS:WEIGHTS ... [--out FILE]
    python benchmarks/compressai_codec.py kodak/ fp=FactorizedPrior:fp.pth mean=MeanScaleHyperprior:mean.pth

Each side is a process of its own with two threads. CompressAI's has torch and its C++ coder, ours has neither torch nor
CompressAI. For each picture one side works after the other, so that whatever else the machine does meets both.
Encoding is from pixels to bytes, decoding from bytes to pixels; times are medians of all pictures' best of `RUNS`.

Bundles are made with `export_compressai`. The Python that has CompressAI is named by ``--python``; see
``tests/compressai_environment.py`` for one that needs no torchvision.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RUNS = 3
THREADS = 2
Picture = npt.NDArray[np.uint8]


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("subjects", nargs="+", metavar="BUNDLE=CLASS:WEIGHTS")
    parser.add_argument("--count", type=int, default=6, help="pictures, the first of the folder")
    parser.add_argument("--python", default=sys.executable, help="that has CompressAI")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from machine import machine

    files = sorted(str(path) for path in arguments.pictures.iterdir() if path.suffix in (".png", ".jpg"))
    subjects = [measured(subject, files[: arguments.count], arguments.python) for subject in arguments.subjects]
    found = {"machine": machine(), "threads": THREADS, "pictures": len(files[: arguments.count]), "subjects": subjects}
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(subject: str, files: list[str], python: str) -> dict[str, Any]:
    """One model: CompressAI, and each pair of variants of the bundle."""
    bundle, _, rest = subject.partition("=")
    kind, _, weights = rest.partition(":")
    variants = sorted(path.name.split(".")[1] for path in Path(bundle).glob("encoder.*.onnx"))
    theirs = Worker(python, "theirs", kind, weights)
    ours = {variant: Worker(sys.executable, "ours", bundle, variant) for variant in variants}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("CompressAI", *variants)}
    for file in files:
        rows["CompressAI"].append(theirs.ask(file))
        for variant, worker in ours.items():
            rows[variant].append(worker.ask(file))
    result: dict[str, Any] = {"class": kind, "versions": theirs.hello | ours[variants[0]].hello}
    for name, found in rows.items():
        result[name] = summary(found, rows["CompressAI"])
    return result


def summary(found: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one side."""
    times = {f"{key}_ms": float(np.median([row[key] for row in found])) for key in ("encode", "decode")}
    faster = {
        f"{key}_times_faster": float(
            np.median([other[key] / row[key] for row, other in zip(found, theirs, strict=True)])
        )
        for key in ("encode", "decode")
    }
    latents = [(np.load(row["latents"]), np.load(other["latents"])) for row, other in zip(found, theirs, strict=True)]
    return {
        **times,
        **faster,
        "bytes": sum(row["bytes"] for row in found),
        "bytes_share": sum(row["bytes"] for row in found) / sum(row["bytes"] for row in theirs) - 1,
        "psnr": float(np.mean([-10 * math.log10(row["mse"]) for row in found])),
        "symbols": sum(one.size for one, _ in latents),
        "symbols_that_differ": int(sum((np.abs(one - other) > 0.5).sum() for one, other in latents)),
        "torch_in_process": any(row["torch"] for row in found),
    }


class Worker:
    """One side: a process that is told files and answers with figures."""

    def __init__(self, python: str, *arguments: str) -> None:
        words = [python, "-W", "ignore", __file__, "--worker", *arguments]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self.answer()

    def ask(self, file: str) -> dict[str, Any]:
        """Figures of one picture."""
        assert self.process.stdin is not None
        self.process.stdin.write(file + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]


def best(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the last of `RUNS` calls returned, and the shortest time in ms."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        found = work()
        times.append(1e3 * (time.perf_counter() - began))
    return found, min(times)


def work(side: str, *arguments: str) -> None:
    """Answer for each file that stdin names."""
    import tempfile

    from PIL import Image

    make = {"ours": our_side, "theirs": their_side}[side]
    versions, encode, decode, latents_of = make(*arguments)
    print(json.dumps(versions), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for at, line in enumerate(sys.stdin):
            picture = np.asarray(Image.open(line.strip()).convert("RGB"))
            (sent, length), encoding = best(lambda: encode(picture))  # noqa: B023  (called at once)
            restored, decoding = best(lambda: decode(sent))  # noqa: B023
            target = f"{folder}/{at}.npy"
            np.save(target, latents_of(sent))
            mse = float(np.square((restored.astype(np.float64) - picture) / 255).mean())
            row = {"bytes": length, "encode": encoding, "decode": decoding, "mse": mse, "latents": target}
            print(json.dumps(row | {"torch": "torch" in sys.modules}), flush=True)


Side = tuple[dict[str, str], Callable[[Picture], tuple[Any, int]], Callable[[Any], Picture], Callable[[Any], Any]]


def our_side(bundle: str, variant: str) -> Side:
    """The two files of a bundle as any program would run them, in one session each."""
    import onnxruntime as ort

    def session(role: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        file = Path(bundle) / f"{role}.onnx"
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    encoder, decoder = session(f"encoder.{variant}"), session(f"decoder.{variant}")
    unpack = session("unpack.exact")

    def encode(picture: Picture) -> tuple[Any, int]:
        packet = encoder.run(["packet"], {"input": picture, "quality": np.array(255, np.uint8)})[0]
        return packet, len(packet)

    def decode(packet: Any) -> Picture:
        return decoder.run(["output"], {"packet": packet})[0]  # type: ignore[no-any-return]

    return (
        {"onnxruntime": ort.__version__},
        encode,
        decode,
        lambda packet: unpack.run(["latents"], {"packet": packet})[0],
    )


def their_side(kind: str, weights: str) -> Side:
    """``compress`` and ``decompress``, with the padding of CompressAI's own evaluation."""
    import torch
    import torch.nn.functional as F
    from compressai import __version__, models
    from compressai.models import vbr
    from compressai.ops import compute_padding

    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    state = torch.load(weights, weights_only=True)
    model = (getattr(models, kind, None) or getattr(vbr, kind)).from_state_dict(state).eval()

    def encode(picture: Picture) -> tuple[Any, int]:
        planes = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        pad, unpad = compute_padding(*picture.shape[:2], min_div=64)
        found = model.compress(F.pad(planes, pad))
        return (found, unpad), sum(len(string) for strings in found["strings"] for string in strings)

    def decode(sent: Any) -> Picture:
        found, unpad = sent
        restored = F.pad(model.decompress(**found)["x_hat"], unpad)
        return (restored[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()

    def latents_of(sent: Any) -> Any:
        seen = []
        hook = model.g_s.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy()))
        decode(sent)
        hook.remove()
        return seen[0]

    return {"compressai": str(__version__), "torch": str(torch.__version__)}, encode, decode, latents_of


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(*sys.argv[sys.argv.index("--worker") + 1 :])
    else:
        main()
