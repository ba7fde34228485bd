"""A family that lives in another distribution goes through every command, and nothing here knows of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from latentwire.export import FactorizedFamily, ParityError, verify_bundle
from latentwire.export.families import family_named

DISTRIBUTION = Path(__file__).parent / "distribution"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, installed beside ours."""
    source = shutil.copytree(DISTRIBUTION, tmp_path_factory.mktemp("source") / "distribution")
    target = tmp_path_factory.mktemp("beside")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def latentwire(beside: Path, tmp_path_factory: pytest.TempPathFactory):
    """The command, in an environment that has it."""
    folder = tmp_path_factory.mktemp("work")
    environment = {**os.environ, "PYTHONPATH": str(beside), "OMP_NUM_THREADS": "1"}

    def run(*words: object, code: int = 0) -> str:
        command = [sys.executable, "-m", "latentwire.runtime", *map(str, words)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder, run.environment = folder, environment
    return run


@pytest.fixture(scope="module")
def windows(latentwire) -> np.ndarray:
    """Two channels of sines with noise: float32 [1200, 32, 2], in the work folder as windows.npy."""
    rng = np.random.default_rng(0)
    phase = np.arange(32) * rng.uniform(0.1, 0.5, (1200, 1)) + rng.uniform(0, 6, (1200, 1))
    items = np.stack([np.sin(phase), np.cos(phase) / 2], 2) + 0.05 * rng.normal(size=(1200, 32, 2))
    items = items.astype(np.float32)
    np.save(latentwire.folder / "windows.npy", items)
    return items


@pytest.fixture(scope="module")
def codec(latentwire, windows: np.ndarray) -> Path:
    """A bundle of it."""
    assert "windows" in latentwire("train", "--help")
    latentwire("train", "windows", "--data", "windows.npy", "--out", "run")
    latentwire("export", "run", "--out", "codec", "--precision", "fp32,int8")
    return latentwire.folder / "codec"


def test_it_is_exported_verified_and_inspected(latentwire, codec: Path) -> None:
    told = latentwire("verify", "codec", "--data", "windows.npy", "--run", "run")
    assert "parity holds" in told and "torch against ONNX fp32" in told
    manifest = json.loads((codec / "manifest.json").read_text())
    assert manifest["parity"]["passed"]
    said = " ".join(manifest["provenance"]["calibration"]["notes"])
    assert "no int8 variant" in said, "a layer of some hundred bytes, which the scales of bytes would not make smaller"
    assert "windows" in latentwire("inspect", "codec")
    assert "FAIL" not in latentwire("selftest", "codec")


def test_a_killed_run_is_resumed_by_its_family(latentwire, codec: Path) -> None:
    document = json.loads((latentwire.folder / "run" / "run.json").read_text())
    shutil.copytree(latentwire.folder / "run", latentwire.folder / "cut")
    (latentwire.folder / "cut" / "run.json").write_text(json.dumps({**document, "finished": False}))
    assert "not finished" in latentwire("export", "cut", "--out", "none", code=1)
    latentwire("train", "resume", "cut")
    assert json.loads((latentwire.folder / "cut" / "run.json").read_text()) == document


def test_windows_come_back_through_encode_and_decode(latentwire, codec: Path, windows: np.ndarray) -> None:
    latentwire("encode", "codec", "windows.npy", "-o", "windows.lw", "--quality", "255")
    latentwire("decode", "codec", "windows.lw", "-o", "back.npy")
    back = np.load(latentwire.folder / "back.npy")
    assert back.shape == windows.shape and np.square(back - windows).mean() < 0.01
    latentwire("decode", "codec", "windows.lw", "-o", "back.csv", "--format", "csv")
    text = np.loadtxt(latentwire.folder / "back.csv", delimiter=",")
    np.testing.assert_allclose(text, back.reshape(-1, 2), atol=1e-5)


def test_it_is_packaged_and_drawn(latentwire, codec: Path) -> None:
    latentwire("package", "codec", "--target", "linux-arm64", "--out", "apps")
    latentwire("package", "codec", "--target", "qnn", "--batch", "4", "--calibrate", "windows.npy", "--out", "npu")
    assert json.loads((latentwire.folder / "npu/qnn/codec.json").read_text())["static_input"] == [4, 32, 2]
    latentwire("explore", "codec", "--data", "windows.npy", "--out", "pages")
    assert {page.name for page in (latentwire.folder / "pages").iterdir()} >= {"latents.png", "interpolations.png"}


def test_a_device_sends_what_a_server_decodes(latentwire, codec: Path, windows: np.ndarray) -> None:
    words = ["serve", "codec", "--sink", "decoded", "--no-auth", "--port", "0"]
    command = [sys.executable, "-m", "latentwire.runtime", *words]
    with subprocess.Popen(
        command, cwd=latentwire.folder, env=latentwire.environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            port = listening(server)
            told = latentwire("send", "codec", "windows.npy", "--to", f"http://127.0.0.1:{port}", "--device", "probe")
            assert "0 wait, 0 refused" in told
            files = decoded(latentwire.folder / "decoded" / "probe", len(windows))
        finally:
            server.terminate()
            server.wait(20)
    restored = np.concatenate([np.load(file) for file in files])
    assert restored.shape == windows.shape and np.square(restored - windows).mean() < 0.05


def listening(server: subprocess.Popen) -> int:
    """The port that a server says it listens on."""
    for line in server.stderr:
        if "127.0.0.1:" in line:
            return int(line.split("127.0.0.1:")[1].split()[0].strip('",}/)'))
    raise AssertionError("the server ended")


def decoded(folder: Path, count: int) -> list[Path]:
    """The sink's arrays once they hold that many items, in the order they were sent."""
    for _ in range(200):
        files = sorted(folder.glob("*.npy"), key=lambda file: int(file.stem.rsplit("-", 1)[1]))
        if sum(len(np.load(file, mmap_mode="r")) for file in files) == count:
            return files
        time.sleep(0.1)
    raise AssertionError(f"{len(files)} files of {count} items")


def test_where_it_is_not_installed_its_codecs_are_those_of_any_modules(codec: Path, windows: np.ndarray) -> None:
    """This process does not have the distribution: everything but its runs and its own formats works all the same."""
    assert family_named("windows") == FactorizedFamily("windows")
    assert verify_bundle(codec, windows[-100:]).passed


def test_a_wrong_symbol_is_found_whatever_the_layout(codec: Path, windows: np.ndarray, tmp_path: Path) -> None:
    """Symbols that unpack reads are held against those that pack sent, not against a copy of its arithmetic."""
    broken = shutil.copytree(codec, tmp_path / "codec")
    document = json.loads((broken / "manifest.json").read_text())
    path = broken / "unpack.exact.onnx"
    model = onnx.load(path)
    (table,) = (tensor for tensor in model.graph.initializer if tensor.name == "frequency")
    rows = onnx.numpy_helper.to_array(table).copy()
    rows[1:, (rows.shape[1] - 1) // 2] -= 1
    rows[1:, -1] += 1
    table.CopyFrom(onnx.numpy_helper.from_array(rows, table.name))
    path.write_bytes(model.SerializeToString())
    (entry,) = (entry for entry in document["files"] if entry["file"] == path.name)
    entry |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
    (broken / "manifest.json").write_text(json.dumps(document))
    report = verify_bundle(broken, windows[-100:])
    assert not report.passed
    with pytest.raises(ParityError, match="symbols decoded differ from symbols encoded"):
        report.raise_on_failure()
