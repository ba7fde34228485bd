"""The examples run as they stand, and make the bytes that the runtime makes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matrix.environments import JAVASCRIPT, compiled, packages

from latentwire.artifacts import locate
from latentwire.runtime import Encoder

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, *command: str | Path) -> tuple[bytes, Sequence[str]]:
    """(The packet that an example wrote, the numbers that it printed)."""
    bundle = locate("photo")
    models = (bundle / "encoder.int8.onnx", bundle / "decoder.fp32.onnx")
    done = subprocess.run([*command, *models], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "picture.lw").read_bytes(), re.findall(r"[\d.]+", done.stdout)


def expected() -> bytes:
    y, x = np.mgrid[:256, :384]
    picture = np.stack([x * 2 // 3, y, (x + y) // 3], axis=2).astype(np.uint8)
    return Encoder("photo", variant="int8").encode(picture, 128)


def test_python(tmp_path):
    packet, (size, length, error) = run(tmp_path, sys.executable, EXAMPLES / "roundtrip.py")
    assert packet == expected()
    assert (int(size), int(length)) == (256 * 384 * 3, len(packet))
    assert float(error) < 20


def test_node(tmp_path):
    packages(tmp_path)
    shutil.copy(EXAMPLES / "roundtrip.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    packet, (size, length, error) = run(tmp_path, "node", "roundtrip.mjs")
    assert (int(size), int(length)) == (256 * 384 * 3, len(packet))
    assert abs(len(packet) - len(expected())) <= 0.02 * len(packet)  # its floats may choose other symbols
    assert float(error) < 20


def test_cpp(tmp_path):
    program = compiled(tmp_path, EXAMPLES / "roundtrip.cpp")
    packet, (size, length, error) = run(tmp_path, program)
    assert packet == expected()
    assert (int(size), int(length)) == (256 * 384 * 3, len(packet))
    assert float(error) < 20
