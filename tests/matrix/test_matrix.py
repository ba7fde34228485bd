"""The matrix finds what disagrees: shown on small codecs, sound ones and two that are broken on purpose.

`make matrix` runs the ready codecs everywhere.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matrix import environments
from matrix.cell import Models
from matrix.corpus import crops, image_codec, write_corpus
from matrix.environments import Place, SkippedError
from matrix.page import Ran, faults, render
from matrix.run import Matrix
from small_images import picture, small_network

from latentwire.export.graph import integer
from latentwire.export.graph.builder import FLOAT, UINT8, table
from latentwire.export.graph.integer import CHANNELS_FIRST, CHANNELS_LAST, constant

HERE = Place("here", environments.here, ("disabled", "all"))
PICTURES = [picture(128, 192, seed=50 + k) for k in range(2)]
STEP, ZERO_POINT = 3.0, 128.0
"""Of the activations of a float network, as quantized ones have them: what neither is a power of two nor near zero
makes sums that depend on the order and the precision of their terms."""
SCRATCH = Path(__file__).parents[2] / "build/matrix"
"""Emulators are kept here from one run to the next."""


def run(folder: Path, network: torch.nn.Module, count: int, *places: Place) -> list[Ran]:
    inputs = crops([picture(200, 300, seed=k) for k in range(3)], count)
    write_corpus(folder / "corpus", [image_codec(network, PICTURES, inputs, ("fp32", "int8"))], lambda _: None)
    (folder / "work").mkdir()
    return Matrix(folder / "corpus", folder / "work", places).run()


def emulator(name: str, prepare: Callable[[Path], list[str]]) -> Place:
    prepare(SCRATCH)
    return Place(name, lambda _: prepare(SCRATCH), outputs=100)


@pytest.mark.slow
def test_a_sound_codec_agrees_and_the_page_says_so(tmp_path):
    def absent(_: Path) -> list[str]:
        raise SkippedError("no such processor")

    results = run(tmp_path, small_network(), 5, HERE, Place("elsewhere", absent))
    assert faults(results) == []
    page = render(results, 5, "made")
    assert "| B | elsewhere | **not run**: no such processor | all | 1 | all |" in page
    # 5 inputs x 2 variants x 2 levels at most, each read at both levels; equal packets count once.
    assert results[0].packed == 10
    assert 10 <= results[0].read["here"] <= 40
    assert f"| A | 0 / {results[0].read['here']} | 0 / 10 |" in page


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_cell_refuses_an_accelerator_that_is_not_there(tmp_path):
    """ONNX Runtime itself warns and goes on with the CPU, whose packets would be taken for the accelerator's."""
    inputs = crops([picture(200, 300)], 1)
    write_corpus(tmp_path, [image_codec(small_network(), PICTURES, inputs, ("fp32",))], lambda _: None)
    task = {"family": "image", "level": "all", "threads": 1, "providers": ["NoSuch", "CPU"]}
    with pytest.raises(RuntimeError, match=r"expected NoSuchExecutionProvider, found .*CPUExecutionProvider"):
        Models(tmp_path, task).open("analysis.fp32")
    assert Models(tmp_path, task).open("pack").get_providers() == ["CPUExecutionProvider"]


@pytest.mark.slow
def test_a_scale_index_from_floats_is_found(tmp_path, monkeypatch):
    """The same network with rows from a float convolution, which another processor rounds differently on the way."""
    old = emulator("without FMA", environments.nehalem)

    def float_rows(op, layer, seen, addend, steps, highest):
        divisor = layer.divisor * steps
        weight = (layer.weight * STEP / divisor[:, None, None, None]).astype(np.float32)
        known = op.Add(op.Cast(op.Transpose(seen, perm=CHANNELS_FIRST), to=FLOAT), ZERO_POINT)
        known = op.Div(known, STEP)
        sums = op.Transpose(op.Conv(known, table(op, weight, f"{layer.name}.weight")), perm=CHANNELS_LAST)
        offset = layer.bias / divisor - ZERO_POINT / STEP * weight.sum((1, 2, 3), dtype=np.float64)
        bias = table(op, offset.astype(np.float32), f"{layer.name}.bias")
        moved = op.Add(sums, op.Add(op.Mul(addend, 1 / steps), bias))
        ends = (constant(op, end, np.float32) for end in (0, highest))
        return op.Cast(op.Clip(op.Add(moved, 0.5), *ends), to=UINT8)

    monkeypatch.setattr(integer, "rows", float_rows)
    found = faults(run(tmp_path, small_network(), 30, Place("here", environments.here), old))
    assert any("lost symbols" in fault for fault in found)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [63, 127])
def test_weights_of_seven_bits_disagree_without_vnni(tmp_path, monkeypatch, limit):
    """Bytes near 255 times weights near 127 saturate in pairs there; with 6 bits the same network agrees.

    ARM64 takes part because the processor that runs this may itself be without VNNI.
    """
    places = [emulator("without VNNI", environments.haswell), emulator("ARM64", environments.arm)]
    for module in ("latentwire.train.image.integer", "latentwire.export.graph.integer"):
        monkeypatch.setattr(f"{module}.WEIGHT_LIMIT", limit)
    network = small_network()
    with torch.no_grad():
        for stage in network.prior.stages:
            stage.hidden.weight.abs_().mul_(8)  # bytes of 255
            stage.head.weight[:] = stage.head.weight.sign() * 0.05  # all weights at the limit
    network.prior.base += 20
    lost = [fault for fault in faults(run(tmp_path, network, 3, HERE, *places)) if "lost symbols" in fault]
    assert bool(lost) == (limit == 127)


def running(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_what_the_matrix_starts_dies_with_it():
    start = (
        "import subprocess, sys; from matrix.browser import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True); child.wait()"
    )
    tests = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, cwd=tests, text=True) as parent:
        child = Path("/proc", parent.stdout.readline().strip())
        assert running(child)
        parent.kill()
    deadline = time.monotonic() + 10
    while running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
