"""Targets of picture codecs: static shapes of any size, usability reports that name torch modules, NPUs."""

import importlib.util
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from small_images import picture
from torch import nn

from latentwire.export import export_codec
from latentwire.export.errors import ExportError
from latentwire.export.image.static import PictureForm
from latentwire.export.static import Shapes, check_static, fixed, parse_size
from latentwire.export.targets import package_bundle
from latentwire.export.targets.golden import shaped
from latentwire.export.targets.parts import parts_of
from latentwire.export.targets.targets import target_named
from latentwire.export.targets.usability import OP_LISTS, usability
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.cli.group import main
from latentwire.runtime.errors import SettingError

pytestmark = pytest.mark.slow


CODEC = "photo"


def model_of(role, variant="fp32"):
    return onnx.load_model_from_string(open_bundle(CODEC).read_model(role, variant))


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [(64, 128), (100, 150), (1, 1)])
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_static_transforms_do_what_dynamic_ones_do_at_their_size_only(size, variant):
    height, width = size
    analysis = PictureForm().analysis(model_of("analysis", variant), (*size, 3))
    check_static(analysis)
    image = picture(height, width)
    feed = {"input": image, "quality": np.asarray(77, np.uint8)}
    (latents,) = session(analysis).run(None, feed)
    (wanted,) = session(model_of("analysis", variant)).run(None, feed)
    assert latents.shape == (1, 256, -(-height // 64) * 4, -(-width // 64) * 4)
    assert np.abs(latents - wanted).max() <= 1e-4 * np.abs(wanted).max()
    with pytest.raises(Exception, match="invalid dimensions"):
        session(analysis).run(None, {**feed, "input": picture(height + 1, width)})
    synthesis = PictureForm().synthesis(model_of("synthesis"), latents.shape, (*size, 3))
    level = {"latents": latents, "quality": np.asarray([77], np.uint8)}
    (output,) = session(synthesis).run(None, level)
    (dynamic,) = session(model_of("synthesis")).run(None, {**level, "size": np.asarray([*size, 3])})
    assert output.shape == (*size, 3)
    assert np.abs(output.astype(int) - dynamic).max() <= 1
    assert [entry.name for entry in synthesis.graph.input] == ["latents", "quality"]


def test_a_multiple_of_64_needs_nothing_before_and_behind_the_network():
    analysis = PictureForm().analysis(model_of("analysis"), (128, 64, 3))
    synthesis = PictureForm().synthesis(model_of("synthesis"), (1, 256, 8, 4), (128, 64, 3))
    dynamic = {"Shape", "Pad", "Expand", "Slice", "Equal", "ReduceMean", "ConstantOfShape", "Range"}
    assert not dynamic & {node.op_type for model in (analysis, synthesis) for node in model.graph.node}


def test_what_cannot_be_static_is_refused():
    entry = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["items", 4])
    output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.INT64, [2, "found"])
    node = onnx.helper.make_node("NonZero", ["input"], ["output"])
    graph = onnx.helper.make_graph([node], "counts", [entry], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    with pytest.raises(ExportError, match="found that of 'output' to vary"):
        fixed(model, {"input": (3, 4)})


def test_a_packet_of_the_npus_pieces_is_read_by_every_decoder(tmp_path):
    (found,) = package_bundle(CODEC, tmp_path, ["qnn"], Shapes(size=(100, 150)))
    described = json.loads((found.path / "codec.json").read_text())
    assert described["static_input"] == [100, 150, 3]
    image = np.fromfile(found.path / "golden/input.bin", np.uint8).reshape(100, 150, 3)
    for quality, file in described["golden"]["packets"].items():
        packet = (found.path / file).read_bytes()
        plain = Encoder(CODEC, variant="fp32").encode(image, int(quality))
        restored = Decoder(CODEC).decode(packet)
        assert len(packet) <= 1.1 * len(plain) + 8
        error, plain_error = (
            np.square(output.astype(float) - image).mean() for output in (restored, Decoder(CODEC).decode(plain))
        )
        assert error <= 1.15 * plain_error + 0.5
    verdicts = {(entry.model, entry.provider): entry.verdict for entry in found.report}
    assert verdicts["models/analysis.uint16.onnx", "QNN"] == "YES"
    assert verdicts["models/pack.exact.ort", "CPU"] == "YES"


def test_pieces_of_one_size_are_taken_where_free_ones_are_not():
    opened = open_bundle(CODEC)

    def taken(shape):
        parts = parts_of(target_named("android"), opened, PictureForm(), shape, [])
        model = next(model for name, model in parts[1].models.items() if name.startswith("analysis"))
        return usability(model, "analysis", OP_LISTS["nnapi"])

    free, fixed_size = taken(None), taken((128, 192, 3))
    assert any(entry.reason == "shape" for entry in free.refused)
    assert not any(entry.reason == "shape" for entry in fixed_size.refused)
    assert fixed_size.taken / fixed_size.nodes > 0.95 > free.taken / free.nodes


def test_the_size_of_pictures_must_be_given_and_allowed(tmp_path):
    def package(*options: object):
        words = ["package", CODEC, "--out", str(tmp_path / "apps"), *map(str, options)]
        return CliRunner().invoke(main, words)

    missing = package("--target", "qnn")
    assert (missing.exit_code, "--size HEIGHTxWIDTH for target qnn" in missing.stderr) == (2, True)
    batched = package("--target", "qnn", "--size", "64x64", "--batch", 2)
    assert (batched.exit_code, "expected batch 1 for pictures" in batched.stderr) == (2, True)
    large = package("--target", "qnn", "--size", "9000x9000")
    assert (large.exit_code, "found [9000, 9000, 3]" in large.stderr) == (2, True)
    with pytest.raises(SettingError, match="512x768"):
        parse_size("0x12")


def test_golden_pictures_are_repeated_and_cut():
    small = picture(3, 5, 1)
    cut = shaped(small, (4, 12, 3))
    assert np.array_equal(cut[:3, 5:10], np.repeat(small, 3, axis=2))
    assert np.array_equal(cut[3], cut[0])


class Warp(nn.Module):
    """Ends in an operator that no accelerator takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.odd = Odd()
        self.last = nn.Linear(16, 10)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.last(self.odd(torch.relu(self.first(values))))


class Odd(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.atanh(torch.clamp(values, -0.9, 0.9))


def test_the_report_names_the_torch_module_behind_an_unsupported_operator(digits, tmp_path):
    torch.manual_seed(0)
    encoder, decoder = Warp(), nn.Linear(10, 64)
    export_codec((encoder, decoder), digits, tmp_path / "codec", precisions=("fp32",))
    android, ios = package_bundle(tmp_path / "codec", tmp_path, ["android", "ios"])
    for found in (android, ios):
        for entry in found.report:
            if entry.model == "models/pieces/analysis.fp32.onnx":
                behind = {r.operator: r.modules for r in entry.refused}
                assert behind["ai.onnx:Atanh"] == ("encoder.odd",), entry.provider
        text = (found.path / "report.md").read_text()
        assert "| ai.onnx:Atanh | operator | 1 | `encoder.odd` |" in text


def test_the_lists_say_where_they_come_from():
    assert "nnapi_supported_ops.md of onnxruntime" in OP_LISTS["nnapi"].source
    for name in ("xnnpack", "qnn"):
        assert OP_LISTS[name].source.startswith("https://")
    sizes = {name: len(entry.operators()) for name, entry in OP_LISTS.items()}
    assert (sizes.pop("xnnpack"), sizes.pop("qnn")) == (12, 113)
    assert min(sizes.values()) > 30


def test_photo_for_phones(tmp_path):
    """The ready codec: its int8 encoder as ORT-format file makes the packets of the runtime."""
    (found,) = package_bundle("photo", tmp_path, ["linux-arm64"])
    encoder = ort.InferenceSession(found.path / "models/encoder.int8.ort", providers=["CPUExecutionProvider"])
    image = picture(75, 130)
    (packet,) = encoder.run(["packet"], {"input": image, "quality": np.asarray(90, np.uint8)})
    assert packet.tobytes() == Encoder("photo", variant="int8").encode(image, 90)
    assert "BSDS500" in (found.path / "TERMS.md").read_text()


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed")
def test_qualcomms_compiler_takes_the_pieces(tmp_path):
    """On its simulator, which comes with the wheel for x86-64: nearly the packets of the CPU."""
    import onnxruntime_qnn

    (found,) = package_bundle(CODEC, tmp_path, ["qnn"], Shapes(size=(64, 128)))
    ort.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    npu = [device for device in ort.get_ep_devices() if device.ep_name == "QNNExecutionProvider"]
    options.add_provider_for_devices(npu, {"backend_type": "htp"})
    path = found.path / "models/analysis.uint16.onnx"
    there, here = ort.InferenceSession(path, options), ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = [part for part in there.get_provider_graph_assignment_info() if part.ep_name == "QNNExecutionProvider"]
    assert len(parts) <= 3
    assert sum(len(part.get_nodes()) for part in parts) > 150  # all but the two that cut patches out of the picture
    image = np.fromfile(found.path / "golden/input.bin", np.uint8).reshape(64, 128, 3)
    feed = {"input": image, "quality": np.asarray(128, np.uint8)}
    gap = np.abs(there.run(None, feed)[0] - here.run(None, feed)[0])
    assert gap.max() < 4  # grey levels
