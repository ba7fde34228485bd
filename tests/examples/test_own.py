"""The examples that bring an autoencoder of their own: a notebook, and a training of Lightning's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from latentwire.runtime import Decoder, Encoder, open_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "bring_your_own.ipynb"
EXECUTE = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""


def run(folder: Path, *words: str | Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    run(tmp_path, "-c", EXECUTE, NOTEBOOK)
    outputs: list[dict[str, Any]] = [
        output
        for cell in json.loads((tmp_path / "executed.ipynb").read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    text = "".join("".join(output.get("text", [])) for output in outputs)
    assert "parity passed: True" in text
    rows = [tuple(map(float, row)) for row in re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)]
    assert [row[0] for row in rows] == [0, 64, 128, 192, 255]
    sizes, errors = [row[1] for row in rows], [row[2] for row in rows]
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    alone = float(re.findall(r"no packet +([\d.]+)", text)[0])
    assert errors[-1] <= 1.01 * alone
    assert sizes[-1] < 64 / 4
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )


@pytest.mark.slow
def test_a_training_of_lightnings_ends_in_a_bundle(tmp_path):
    told = run(tmp_path, EXAMPLES / "lightning_callback.py", "codec")
    bundle = open_bundle(tmp_path / "codec")
    assert bundle.manifest.codec_id[:16] in told
    assert bundle.manifest.provenance.training["trainer"] == "lightning"
    assert bundle.manifest.parity is not None and bundle.manifest.parity["passed"] is True
    items = (load_digits().images[1437:, None] / 16).astype(np.float32)
    back = Decoder(bundle).decode(Encoder(bundle).encode(items, 255))
    assert back.shape == items.shape
    assert np.square(back - items).mean() < 0.5 * items.var()  # it learned something, and that arrived
