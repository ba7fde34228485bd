"""The ready codec packaged for browsers: in Node and in headless Chromium, the bytes of the bundle's own encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from devtools import Chromium, served
from matrix.environments import JAVASCRIPT, browser
from readmes import run_javascript

from latentwire.export.targets import package_bundle
from latentwire.runtime import Encoder

pytestmark = pytest.mark.slow

ENCODE = """(async () => {
    const ort = await import("/node_modules/onnxruntime-web/dist/BUILD");
    ort.env.wasm.numThreads = 1;
    const read = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
    const session = await ort.InferenceSession.create(
        await read("/models/encoder.int8.ort"), { executionProviders: ["wasm"] },
    );
    const input = new ort.Tensor("uint8", await read("/golden/input.bin"), SHAPE);
    const quality = new ort.Tensor("uint8", Uint8Array.of(QUALITY), []);
    return (await session.run({ input, quality })).packet.data;
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (found,) = package_bundle("photo", tmp_path_factory.mktemp("apps"), ["web"])
    return found.path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The folder over HTTP, with onnxruntime-web in it."""
    (folder / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    with served(folder) as found:
        yield f"{found}codec.json"
    (folder / "node_modules").unlink()


def test_its_packets_are_the_bundles_own_and_it_stays_small(folder):
    golden = json.loads((folder / "codec.json").read_text())["golden"]
    items = np.fromfile(folder / "golden/input.bin", np.uint8).reshape(golden["input"]["shape"])
    encoder = Encoder("photo", variant="int8")
    for quality, file in golden["packets"].items():
        assert (folder / file).read_bytes() == encoder.encode(items, int(quality))
    assert (folder / "models/encoder.int8.ort").stat().st_size < 3_200_000


def test_the_readmes_javascript_runs(folder, tmp_path):
    assert "restored [" in run_javascript(folder, tmp_path)


def test_every_build_of_onnxruntime_web_makes_the_golden_packet(folder, address, tmp_path):
    """Those with WebGPU, too, whose WebAssembly lacks a cast that the bundle's ONNX file needs."""
    program = browser(tmp_path)[-1]
    golden = json.loads((folder / "codec.json").read_text())["golden"]
    quality, shape = golden["output"]["quality"], golden["input"]["shape"]
    script = ENCODE.replace("SHAPE", str(shape)).replace("QUALITY", str(quality))
    with Chromium(program) as chromium:
        page = chromium.open(address)
        for build in ("ort.wasm.min.mjs", "ort.webgpu.min.mjs"):
            found = page.bytes(script.replace("BUILD", build))
            assert found == (folder / golden["packets"][str(quality)]).read_bytes(), build
