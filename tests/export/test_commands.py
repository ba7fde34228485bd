"""`latentwire export` and `latentwire verify` on runs of every objective, through the real command."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.cli.group import main

OBJECTIVES = ("rate", "mse", "denoising", "variational", "adversarial")


def latentwire(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.npy"
    np.save(path, digits)
    return path


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> Path:
    """A short run of every objective."""
    folder = tmp_path_factory.mktemp("runs")
    for objective in OBJECTIVES:
        options = ["--epochs", 2, "--hidden", 32, "--latent", 8, "--range", "0,16"]
        result = latentwire(
            "train", "dense", "--data", data, "--objective", objective, "--out", folder / objective, *options
        )
        assert result.exit_code == 0, result.output
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_exports_verifies_and_codes(runs, digits, tmp_path, objective):
    out = tmp_path / "codec"
    result = latentwire("export", runs / objective, "--out", out, "--precision", "fp32", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["parity"]["passed"]
    assert answer["codec_id"] == open_bundle(out).manifest.codec_id
    again = latentwire("verify", out, "--run", runs / objective, "--json")
    assert again.exit_code == 0, again.output
    assert sum(check["name"].startswith("torch") for check in json.loads(again.stdout)["checks"]) == 3
    restored = Decoder(out).decode(Encoder(out).encode(digits[:100], 255))
    assert restored.shape == (100, 64)
    assert restored.max() <= 16
    provenance = open_bundle(out).manifest.provenance.training
    assert provenance["objective"]["name"] == objective
    assert str(tmp_path.parent) not in (out / "manifest.json").read_text()


@pytest.mark.slow
def test_calibration_and_hold_out_from_files(runs, digits, tmp_path):
    np.save(tmp_path / "some.npy", digits[:400])
    np.save(tmp_path / "others.npy", digits[400:500])
    options = ["--precision", "fp32", "--calibrate", tmp_path / "some.npy", "--holdout", tmp_path / "others.npy"]
    result = latentwire("export", runs / "mse", "--out", tmp_path / "codec", *options)
    assert result.exit_code == 0, result.output
    calibration = open_bundle(tmp_path / "codec").manifest.provenance.calibration
    assert (calibration["source"], calibration["items"], calibration["held_out_items"]) == ("some.npy", 400, 100)
    verified = latentwire("verify", tmp_path / "codec", "--data", tmp_path / "others.npy", "--no-write")
    assert "parity holds" in verified.stdout


def test_what_is_missing_is_said(tmp_path, runs, data):
    assert latentwire("export", tmp_path / "nowhere", "--out", tmp_path / "codec").exit_code == 2
    assert latentwire("export", tmp_path, "--out", tmp_path / "codec").exit_code == 1
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((50, 7), np.uint8))
    result = latentwire("export", runs / "mse", "--out", tmp_path / "codec", "--calibrate", wrong)
    assert result.exit_code == 3, result.output
    assert "[items, 64]" in result.stderr
    unknown = latentwire("export", runs / "mse", "--out", tmp_path / "codec", "--precision", "fp64")
    assert unknown.exit_code == 2
    assert "fp64" in unknown.stderr
    assert not (tmp_path / "codec").exists()


def test_a_bundle_that_fails_parity_exits_with_6(bundle, tmp_path):
    """The golden packets are right, one transform is not: found, reported, exit code 6."""
    import hashlib
    import shutil

    import onnx

    broken = shutil.copytree(bundle, tmp_path / "broken")
    path = broken / "decoder.fp32.onnx"
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("decoder.bias"))
    values = onnx.numpy_helper.to_array(tensor) + np.float32(0.3)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((broken / "manifest.json").read_text())
    entry = next(entry for entry in manifest["files"] if entry["file"] == path.name)
    entry.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size)
    (broken / "manifest.json").write_text(json.dumps(manifest))
    result = latentwire("verify", broken)
    assert result.exit_code == 6, result.output
    assert "PARITY FAILED" in result.stdout
