"""Keras 3: the seed's program as it stands, and models of other kinds; the export never sees torch."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from frameworks.conftest import HERE, export_without_torch, python

from latentwire.export.measure import session
from latentwire.runtime.bundle import open_bundle

SHAPES = {"pictures": (28, 28, 1), "windows": (28, 28), "variational": (28, 28, 1)}


def alone(folder: Path, items: np.ndarray, encoder: str, decoder: str) -> np.ndarray:
    """What the files as Keras wrote them make of items, without any codec."""
    values = items
    for name in (encoder, decoder):
        network = session((folder / name).read_bytes())
        values = network.run(None, {network.get_inputs()[0].name: values})[0]
    return values


def error(items: np.ndarray, restored: np.ndarray) -> float:
    return float(np.square(items - restored, dtype=np.float64).mean())


@pytest.mark.slow
def test_the_seed_program_as_it_stands_becomes_a_codec_without_torch(big_digits, tmp_path):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras 3.12 needs Python 3.11")
    np.savez(tmp_path / "images.npz", train=np.tile(big_digits[:1400], (4, 1, 1)), test=big_digits[1400:])
    python("keras_make.py", tmp_path / "images.npz", tmp_path / "keras")
    items = (big_digits[-900:].reshape(-1, 784) / 255).astype(np.float32)
    encoder, decoder = (tmp_path / "keras" / f"{half}.onnx" for half in ("encoder", "decoder"))
    found = export_without_torch(encoder, decoder, items, tmp_path)
    networks = error(items[-100:], np.load(tmp_path / "keras/restored.npy")[-100:])
    assert networks < 0.5 * items.var(), "the program learns something of these digits"
    assert error(items[-100:], found.restored["fp32"]) <= 1.01 * networks, "Keras's own predictions are the measure"
    assert error(items[-100:], found.restored["int8"]) <= 1.05 * networks
    assert found.sizes["128"] < found.sizes["255"] < 100 * 32
    manifest = open_bundle(found.bundle).manifest
    assert "torch" not in manifest.provenance.tools
    assert any(check["name"].startswith("the ONNX halves against ONNX") for check in manifest.parity["checks"])
    sizes = {(entry.role, entry.variant): entry.size for entry in manifest.files}
    assert sizes["analysis", "int8"] < 0.4 * sizes["analysis", "fp32"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_models_that_keras_on_tensorflow_exported(name, big_digits, tmp_path):
    """Channels last, time first, tf2onnx's ConvTranspose, its Erfc, and a sampling layer that is in no ONNX."""
    folder, items = HERE / "keras_files", (big_digits[-700:] / np.float32(255)).reshape(-1, *SHAPES[name])
    files = [f"{name}.{half}.onnx" for half in ("encoder", "decoder")]
    options = {"latent": 0} if name == "variational" else {}
    found = export_without_torch(*(folder / file for file in files), items, tmp_path, **options)
    assert error(items[-100:], found.restored["fp32"]) < 0.3 * items.var()
    if name == "pictures":  # the others hold what ONNX Runtime refuses as it stands
        networks = error(items[-100:], alone(folder, items[-100:], *files))
        assert error(items[-100:], found.restored["fp32"]) <= 1.01 * networks
    layout = open_bundle(found.bundle).manifest.input
    assert layout.shape == ("items", *SHAPES[name])
    notes = json.loads((found.bundle / "manifest.json").read_text())["provenance"]["calibration"]["notes"]
    if name != "variational":
        assert any("along the last axis" in note for note in notes), "channels last is found"
