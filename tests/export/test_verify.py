"""Verification must fail when something is wrong: each test breaks one thing in a bundle that passed."""

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from small_images import small_network

from latentwire.export import Dense, ExportError, ParityError, TorchReference, export_codec, verify_bundle
from latentwire.export.verify import write_report
from latentwire.runtime import open_bundle
from latentwire.runtime.errors import LatentwireError

from .test_export_codec import digit_images, pca_modules


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    items = digit_images()
    out = tmp_path_factory.mktemp("verify") / "digits"
    export_codec(pca_modules(items / 255), items, out, precisions=("fp32", "int8"))
    return out


@pytest.fixture
def bundle(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "digits")


def replace_model(bundle, name, change):
    """Change one ONNX file and make the manifest agree with it, as a careless release would."""
    path = bundle / name
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    document = json.loads((bundle / "manifest.json").read_text())
    entry = next(entry for entry in document["files"] if entry["file"] == name)
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    entry["size"] = path.stat().st_size
    (bundle / "manifest.json").write_text(json.dumps(document))


def scale_initializer(name, factor):
    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name.endswith(name):
                array = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))

    return change


def scale_weights(factor):
    """What bytes stand for as weights of an int8 model."""

    def change(model):
        stored = {entry.name for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.INT8}
        restored = [node for node in model.graph.node if node.input[0] in stored]
        assert {node.op_type for node in restored} == {"DequantizeLinear"}
        for node in restored:
            scale_initializer(node.input[1], factor)(model)

    return change


def failures(bundle):
    report = verify_bundle(bundle, digit_images()[-100:])
    return [check.name for check in report.checks if not check.passed]


def test_an_untouched_bundle_passes_again(bundle):
    assert failures(bundle) == []


def test_a_decoder_that_differs_from_its_pieces_is_found(bundle):
    replace_model(bundle, "decoder.fp32.onnx", scale_initializer("decoder.bias", 1.2))
    assert failures(bundle) == [
        "fp32 encoder to fp32 decoder: output against its pieces",
        "int8 encoder to fp32 decoder: output against its pieces",
    ]


def test_an_int8_transform_that_went_wrong_is_found(bundle):
    replace_model(bundle, "analysis.int8.onnx", scale_weights(1.1))
    assert any("int8 encoder, fp32 decoder" in name for name in failures(bundle))


def test_pack_and_unpack_that_disagree_about_one_probability_are_found(bundle):
    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name == "frequency":
                array = onnx.numpy_helper.to_array(tensor).copy()
                centre = (array.shape[1] - 1) // 2
                array[1:, centre] -= 1
                array[1:, -1] += 1
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    replace_model(bundle, "unpack.exact.onnx", change)
    assert any("symbols decoded differ" in name for name in failures(bundle))


def test_a_file_that_is_not_the_manifests_is_refused_before_it_runs(bundle):
    path = bundle / "pack.exact.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(LatentwireError, match="SHA-256"):
        verify_bundle(bundle, digit_images()[-100:])


def test_a_failed_report_raises_and_can_be_written(bundle):
    replace_model(bundle, "decoder.fp32.onnx", scale_initializer("decoder.bias", 1.2))
    report = verify_bundle(bundle, digit_images()[-100:])
    with pytest.raises(ParityError, match=r"2 of \d+ parity checks failed: fp32 encoder to fp32 decoder"):
        report.raise_on_failure()
    assert ParityError.exit_code == 6
    write_report(bundle, report)
    parity = json.loads((bundle / "manifest.json").read_text())["parity"]
    assert parity["passed"] is False
    assert sum(check["name"].startswith("torch") for check in parity["checks"]) == 3  # kept from the export


def test_the_reference_is_the_torch_module(whole):
    """A different torch network must not pass as the one that was exported."""
    encoder, decoder = pca_modules(digit_images() / 255)
    encoder.weight.data[3] *= 1.01
    reference = TorchReference.of(Dense(open_bundle(whole).manifest.input, 20), encoder, decoder)
    report = verify_bundle(whole, digit_images()[-100:], reference)
    failed = [check.name for check in report.checks if not check.passed]
    assert "torch against ONNX fp32: share of symbols that differ" in failed


def test_a_reference_that_does_not_fit_is_an_error_and_not_a_check_left_out(whole):
    items, contract = digit_images()[-100:], open_bundle(whole).manifest.input
    with pytest.raises(ExportError, match=r"expected a Reference as the torch side .* found a ImageNetwork"):
        verify_bundle(whole, items, small_network())
    narrow = TorchReference.of(Dense(contract, 5), torch.nn.Linear(64, 5), torch.nn.Linear(5, 64))
    with pytest.raises(ExportError, match=r"latents \[100, 20\] .* found \[100, 5\]"):
        verify_bundle(whole, items, narrow)
