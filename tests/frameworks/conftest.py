"""Digits as other frameworks' models take them, and an export of ONNX files in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What an export without torch came to.

    Attributes:
        bundle: its folder.
        sizes: bytes of a packet of the last 100 items, by quality.
        restored: what the packet of quality 255 decodes to, by variant.
    """

    bundle: Path
    sizes: dict[str, int]
    restored: dict[str, np.ndarray]


def python(script: str, *arguments: str | Path) -> str:
    """What a script of this folder prints last."""
    command = [sys.executable, HERE / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def export_without_torch(encoder: Path, decoder: Path, items: np.ndarray, folder: Path, **more) -> Outcome:
    """`export_codec` of two ONNX files where torch cannot be imported; the options are its own, and ``verify``."""
    np.save(folder / "items.npy", items)
    out = folder / "codec"
    said = json.loads(python("export_without_torch.py", encoder, decoder, folder / "items.npy", out, json.dumps(more)))
    with np.load(out.with_suffix(".npz")) as restored:
        return Outcome(out, said["bytes"], dict(restored))


@pytest.fixture(scope="session")
def big_digits() -> np.ndarray:
    """scikit-learn's digits in the size of MNIST's: uint8 [1797, 28, 28]."""
    wide = np.kron(load_digits().images * (255 / 16), np.ones((3, 3)))
    return np.pad(wide, ((0, 0), (2, 2), (2, 2))).round().astype(np.uint8)
