"""Folders for app developers: what is in them, that it does what the bundle does, and what is refused."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from matrix.environments import JAVASCRIPT, compiled
from onnxruntime.tools.ort_format_model.ort_model_processor import OrtFormatModelProcessor
from onnxruntime.tools.reduced_build_config_parser import parse_config
from readmes import code_blocks, run_javascript

from latentwire.export.assemble import nested_graphs
from latentwire.export.errors import ParityError
from latentwire.export.factorized.static import ItemForm
from latentwire.export.static import Shapes
from latentwire.export.targets import TARGETS, package_bundle
from latentwire.export.targets.parts import check_parity, parts_of
from latentwire.export.targets.targets import target_named
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.cli.group import main
from latentwire.runtime.wire import Status, verdict

NAMES = tuple(target.name for target in TARGETS)
BATCH = 3


def latentwire(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folders(bundle, tmp_path_factory) -> Path:
    """The digits' codec for every target."""
    out = tmp_path_factory.mktemp("targets") / "apps"
    package_bundle(bundle, out, NAMES, Shapes(batch=BATCH))
    return out


def described(folder: Path) -> dict:
    return json.loads((folder / "codec.json").read_text(encoding="utf-8"))


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
def test_the_description_lists_every_file_with_its_hash(folders, bundle, name):
    found, manifest = described(folders / name), open_bundle(bundle).manifest
    there = {path.relative_to(folders / name).as_posix() for path in (folders / name).rglob("*") if path.is_file()}
    assert {entry["file"] for entry in found["files"]} == there - {"codec.json"}
    for entry in found["files"]:
        data = (folders / name / entry["file"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["size"])
    assert (found["target"], found["codec_id"]) == (name, manifest.codec_id)
    assert found["limits"] == manifest.identity.to_json()["limits"]
    assert {"README.md", "TERMS.md", "report.json", "report.md", "golden/input.bin"} <= there
    text = "\n".join(path.read_text() for path in folders.rglob("*") if path.suffix in (".md", ".json", ".config"))
    assert "/tmp" not in text
    assert str(folders) not in text


@pytest.mark.parametrize("name", ["android", "ios", "web", "linux-arm64"])
def test_converted_assemblies_make_the_same_packets(folders, bundle, name):
    """Byte for byte at every golden quality, against the runtime's own session of the ONNX file."""
    folder, manifest = folders / name, open_bundle(bundle).manifest
    golden = described(folder)["golden"]
    items = np.fromfile(folder / golden["input"]["file"], golden["input"]["dtype"]).reshape(golden["input"]["shape"])
    encoder = session(folder / "models/encoder.int8.ort")
    decoder = session(folder / "models/decoder.fp32.ort")
    reference = Encoder(bundle, variant="int8")
    for case in manifest.golden.cases:
        quality = np.asarray(case.quality, np.uint8)
        (packet,) = encoder.run(["packet"], {"input": items, "quality": quality})
        assert packet.tobytes() == reference.encode(items, case.quality)
        assert packet.tobytes() == (folder / golden["packets"][str(case.quality)]).read_bytes()
        output, status = decoder.run(["output", "status"], {"packet": packet})
        assert int(status) == 0
        assert np.array_equal(output, Decoder(bundle).decode(packet.tobytes()))
        if case.quality == golden["output"]["quality"]:
            assert output.tobytes() == (folder / golden["output"]["file"]).read_bytes()


@pytest.mark.parametrize("name", ["android", "ios"])
def test_converted_pieces_talk_to_the_runtime(folders, bundle, digits, name):
    folder = folders / name / "models/pieces"
    variant = {"android": "int8", "ios": "fp32"}[name]
    analysis, pack = session(folder / f"analysis.{variant}.onnx"), session(folder / "pack.exact.ort")
    unpack, synthesis = session(folder / "unpack.exact.ort"), session(folder / "synthesis.fp32.onnx")
    items = digits[:BATCH]
    (latents,) = analysis.run(["latents"], {"input": items})
    feed = {"latents": latents, "quality": np.asarray(200, np.uint8), "size": np.asarray([BATCH], np.int64)}
    (packet,) = pack.run(["packet"], feed)
    restored = Decoder(bundle).decode(packet.tobytes())
    latents, status = unpack.run(["latents", "status"], {"packet": packet})
    assert int(status) == 0
    (output,) = synthesis.run(["output"], {"latents": latents})
    assert np.abs(output.astype(int) - restored).max() <= 1
    with pytest.raises(Exception, match="Got: 2 Expected: 3"):  # these were made for batches of three
        analysis.run(["latents"], {"input": digits[:2]})


def operators(path: Path) -> dict[str, dict[int, set[str]]]:
    """Of an ORT-format file, by domain and version, as ONNX Runtime's tool reads it."""
    found: dict[str, dict[int, set[str]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tool leaves the file open
        OrtFormatModelProcessor(str(path), found, None).process()
    return found


def kinds(found: dict[str, dict[int, set[str]]]) -> set[tuple[str, int, str]]:
    return {(domain, version, op) for domain in found for version, ops in found[domain].items() for op in ops}


@pytest.mark.parametrize("folder", ["android/models", "android/models/pieces", "ios/models/pieces", "qnn/models"])
def test_the_config_lists_exactly_the_operators_of_the_files(folders, folder):
    path = folders / folder / "required_operators_and_types.config"
    required = kinds(parse_config(str(path), True)[0])
    found = set().union(*(kinds(operators(file)) for file in (folders / folder).glob("*.ort")))
    assert found == required
    assert '{"inputs": {"0": ["float"' in path.read_text()
    assert "# - " in path.read_text()


def test_int8_is_fused_for_the_cpu_and_whole_for_accelerators(folders):
    assembly = {op for _, _, op in kinds(operators(folders / "android/models/encoder.int8.ort"))}
    assert "QGemm" in assembly
    piece = onnx.load(folders / "android/models/pieces/analysis.int8.onnx").graph.node
    assert {"DequantizeLinear", "QuantizeLinear", "Gemm"} <= {node.op_type for node in piece}
    assert {node.domain for node in piece} == {""}
    for path in folders.rglob("*.ort"):
        assert "com.microsoft.nchwc" not in operators(path)  # blocks as wide as this machine's registers


@pytest.mark.parametrize(
    "piece", ["analysis.uint16", "synthesis.uint16", "uint8/analysis.uint8", "uint8/synthesis.uint8"]
)
def test_pieces_for_an_npu_are_static_whole_numbers_without_control_flow(folders, piece):
    model = onnx.load(folders / "qnn/models" / f"{piece}.onnx")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    assert len(list(nested_graphs(inferred))) == 1
    entries = {entry.name: entry for entry in (*inferred.input, *inferred.output, *inferred.value_info)}
    assert {name for node in inferred.node for name in node.output} <= set(entries)
    for entry in entries.values():
        assert all(dim.dim_value > 0 and not dim.dim_param for dim in entry.type.tensor_type.shape.dim), entry.name
    zeros = {node.input[2] for node in inferred.node if node.op_type == "QuantizeLinear"}
    kinds = {onnx.numpy_helper.to_array(tensor).dtype.name for tensor in inferred.initializer if tensor.name in zeros}
    assert kinds == {piece.rpartition(".")[2]}


def test_what_whole_numbers_cost_is_measured(folders):
    costs = json.loads((folders / "qnn/report.json").read_text())["costs"]
    assert {(cost["models"], cost["quality"]) for cost in costs} == {
        (models, quality) for models in ("models", "models/uint8") for quality in (0, 64, 128, 255)
    }
    for cost in costs:
        assert cost["bytes"] <= 1.1 * cost["float_bytes"] + 2
        assert cost["mse"] <= 1.3 * cost["float_mse"] + 0.05
    assert "What whole numbers cost" in (folders / "qnn/report.md").read_text()


def test_calibration_data_changes_the_ranges(bundle, digits, tmp_path):
    np.save(tmp_path / "digits.npy", digits[:64])
    options = ["--target", "qnn", "--batch", 8]
    for name, more in (("golden", []), ("given", ["--calibrate", tmp_path / "digits.npy"])):
        result = latentwire("package", bundle, "--out", tmp_path / name, *options, *more)
        assert result.exit_code == 0, result.output
    files = [tmp_path / name / "qnn/models/analysis.uint16.onnx" for name in ("golden", "given")]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_a_converted_file_that_does_something_else_is_refused(bundle, tmp_path):
    opened = open_bundle(bundle)
    items = opened.read_array(opened.manifest.golden.input)
    (part,) = parts_of(target_named("web"), opened, ItemForm(), None, [items])
    part.write(tmp_path)
    check_parity(part, tmp_path, items, [128], opened.manifest.size_axes)
    shutil.copy(folders_encoder(opened, tmp_path), tmp_path / "models/encoder.int8.ort")
    with pytest.raises(ParityError, match="quality 128") as caught:
        check_parity(part, tmp_path, items, [128], opened.manifest.size_axes)
    assert caught.value.exit_code == 6


def folders_encoder(opened, folder: Path) -> Path:
    """The encoder with another bias in its analysis transform, converted."""
    from latentwire.export.targets.ortformat import to_ort

    model = onnx.load_model_from_string(opened.read_model("encoder", "fp32"))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    (folder / "other").mkdir()
    to_ort({"encoder.int8": model.SerializeToString()}, folder / "other")
    return folder / "other/encoder.int8.ort"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "windows"], "expected a target of android, ios, qnn, web, linux-arm64"),
        ([], "expected one target or several"),
        (["--target", "web", "--target", "web"], "each once"),
        (["--target", "qnn"], "--batch N for target qnn"),
        (["--target", "qnn", "--batch", 70000], "limits 1..65535"),
        (["--target", "android", "--size", "64x64"], "expected --batch for items"),
        (["--target", "android", "--size", "64"], "HEIGHTxWIDTH"),
        (["--target", "web", "--batch", 4], "expected no --size and no --batch for web"),
    ],
)
def test_settings_that_cannot_be_are_named(bundle, tmp_path, options, said):
    result = latentwire("package", bundle, "--out", tmp_path / "apps", *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "apps").exists()


def test_a_folder_appears_whole_and_is_replaced_on_demand_only(bundle, tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    refused = latentwire("package", bundle, "--out", tmp_path, "--target", "web", "--overwrite")
    assert refused.exit_code == 1
    assert "it is not a target's folder" in refused.stderr
    (tmp_path / "web").rmdir()
    assert latentwire("package", bundle, "--out", tmp_path, "--target", "web").exit_code == 0
    before = (tmp_path / "web/codec.json").read_bytes()
    again = latentwire("package", bundle, "--out", tmp_path, "--target", "web")
    assert (again.exit_code, "--overwrite" in again.stderr) == (1, True)
    monkeypatch.setattr("latentwire.export.targets.folder.write_readme", lambda *_: 1 / 0)
    failed = latentwire("package", bundle, "--out", tmp_path, "--target", "web", "--overwrite")
    assert isinstance(failed.exception, ZeroDivisionError)
    assert [path.name for path in tmp_path.iterdir()] == ["web"]
    assert (tmp_path / "web/codec.json").read_bytes() == before
    monkeypatch.undo()
    assert latentwire("package", bundle, "--out", tmp_path, "--target", "web", "--overwrite").exit_code == 0


def test_every_model_says_whose_it_is(folders, bundle):
    codec_id = open_bundle(bundle).manifest.codec_id
    paths = [*folders.rglob("*.ort"), *folders.rglob("*.onnx")]
    assert len(paths) == 4 * 2 + 2 * 4 + 2 + 4
    for path in paths:
        facts = json.loads(session(path).get_modelmeta().custom_metadata_map["latentwire"])
        assert (f"{facts['role']}.{facts['variant']}", facts["codec_id"]) == (path.stem, codec_id)


def test_a_level_from_the_environment_is_refused(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL", "basic")
    result = latentwire("package", bundle, "--out", tmp_path / "apps", "--target", "web")
    assert result.exit_code == 1
    assert "unset it" in result.stderr
    assert not list((tmp_path / "apps").iterdir())


def test_a_zip_is_packaged_like_its_folder(bundle, folders, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "codec"), "zip", bundle)
    package_bundle(archive, tmp_path / "apps", ["web"])
    for path in (folders / "web/golden").iterdir():
        assert (tmp_path / "apps/web/golden" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_export_packages_too_and_the_bundle_stays_valid(digits, tmp_path):
    np.save(tmp_path / "digits.npy", digits)
    run, out = tmp_path / "run", tmp_path / "codec"
    options = ["--epochs", 1, "--hidden", 16, "--latent", 8, "--range", "0,16"]
    assert latentwire("train", "dense", "--data", tmp_path / "digits.npy", "--out", run, *options).exit_code == 0
    unsized = latentwire("export", run, "--out", out, "--precision", "fp32", "--target", "qnn")
    assert (unsized.exit_code, out.exists()) == (2, False)  # said before anything is exported
    result = latentwire("export", run, "--out", out, "--precision", "fp32", "--target", "android", "--target", "web")
    assert result.exit_code == 0, result.output
    assert [path.name for path in sorted((out / "targets").iterdir())] == ["android", "web"]
    assert open_bundle(out).check_files() > 0
    assert latentwire("selftest", out).exit_code == 0
    assert (out / "targets/android/models/encoder.fp32.ort").is_file()


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_the_readmes_python_runs(folders):
    (block,) = code_blocks(folders / "linux-arm64", "python")
    done = run_python(block, folders / "linux-arm64")
    assert done.returncode == 0, done.stderr
    packet = (folders / "linux-arm64/golden/q128.packet").stat().st_size
    assert done.stdout == f"{packet} bytes, restored (16, 64)\n"


def test_the_readmes_python_says_what_is_wrong_with_a_packet(folders):
    (block,) = code_blocks(folders / "linux-arm64", "python")
    hurt = block.replace('{"packet": packet}', '{"packet": np.append(packet[:-1], packet[-1] ^ 1)}')
    done = run_python(hurt, folders / "linux-arm64")
    assert done.returncode == 1 and "PacketError: status 7: expected the checksum in the packet" in done.stderr


def test_the_readmes_cpp_runs(folders, tmp_path):
    (block,) = code_blocks(folders / "linux-arm64", "cpp")
    packet = (folders / "linux-arm64/golden/q128.packet").stat().st_size
    hurt = block.replace("auto restored =", "packet[0].GetTensorMutableData<uint8_t>()[12] ^= 1;\n    auto restored =")
    for name, code, said in (
        ("app", block, (0, f"{packet} bytes, restored 16 64\n", "")),
        ("hurt", hurt, (1, "", "status 7: expected the checksum in the packet, found another: ask for it again\n")),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.cpp").write_text(code)
        program = compiled(tmp_path / name, tmp_path / name / "app.cpp")
        done = subprocess.run([program], cwd=folders / "linux-arm64", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == said


def test_the_readmes_javascript_runs(folders, tmp_path):
    assert "restored [ 16, 64 ]" in run_javascript(folders / "web", tmp_path)


def test_the_readmes_javascript_says_what_is_wrong_with_a_packet(folders, tmp_path):
    more = """
for (const hurt of [packet.map((byte, at) => (at === 12 ? byte ^ 1 : byte)), packet.slice(0, 4)]) {
  try { await decode(hurt); } catch (error) { console.log(error.name, error.status, error.fault, error.message); }
}
"""
    said = run_javascript(folders / "web", tmp_path, more)
    assert "PacketError 7 CHECKSUM status 7: expected the checksum in the packet, found another" in said
    assert "PacketError 1 TRUNCATED status 1: expected a whole packet" in said


STATUS_LINES = {
    ("android", "kotlin"): r"^    (?P<name>[A-Z]+)\((?P<number>\d+), \"(?P<meaning>.*)\"\)[,;]$",
    ("linux-arm64", "python"): r"^    (?P<number>\d+): \(\"(?P<name>[A-Z]+)\", \"(?P<meaning>.*)\"\),$",
    ("web", "javascript"): r"^  (?P<number>\d+): \[\"(?P<name>[A-Z]+)\", \"(?P<meaning>.*)\"\],$",
}


@pytest.mark.parametrize("place", STATUS_LINES)
def test_statuses_in_the_code_are_those_of_the_runtime(folders, place):
    text = "\n".join(code_blocks(folders / place[0], place[1]))
    found = [match.groupdict() for match in re.finditer(STATUS_LINES[place], text, re.MULTILINE)]
    told = [(int(entry["number"]), entry["name"], entry["meaning"]) for entry in found]
    assert told == [(int(status), status.name, str(verdict(status))) for status in Status if status]


def test_statuses_in_swift_and_cpp_are_those_of_the_runtime(folders):
    swift = "\n".join(code_blocks(folders / "ios", "swift"))
    numbers = dict(re.findall(r"^    case (\w+) = (\d+)$", swift, re.MULTILINE))
    meanings = dict(re.findall(r"^        case \.(\w+): return \"(.*)\"$", swift, re.MULTILINE))
    assert numbers == {status.name.lower(): str(int(status)) for status in Status if status}
    assert meanings == {status.name.lower(): str(verdict(status)) for status in Status if status}
    (cpp,) = code_blocks(folders / "linux-arm64", "cpp")
    told = re.findall(r"^        case (\d+): return \"(.*)\";$", cpp, re.MULTILINE)
    assert told == [(str(int(status)), str(verdict(status))) for status in Status if status]


@pytest.mark.parametrize("name", NAMES)
def test_every_readme_has_the_statuses_and_the_version_that_made_its_files(folders, name):
    text = (folders / name / "README.md").read_text(encoding="utf-8")
    for status in Status:
        assert (f"| {int(status)} | `{status.name}` | {verdict(status)} |" in text) if status else True
    assert f"were made by ONNX Runtime {ort.__version__}" in text
    javascript = json.loads((JAVASCRIPT / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    pinned = {
        "android": f'"com.microsoft.onnxruntime:onnxruntime-android:{ort.__version__}"',
        "ios": f'onnxruntime-swift-package-manager", exact: "{ort.__version__}")',
        "qnn": f"`pip install onnxruntime=={ort.__version__} onnxruntime-qnn`",
        "web": f"`npm install onnxruntime-web@{javascript}`",
        "linux-arm64": f"`pip install onnxruntime=={ort.__version__} numpy`",
    }
    assert pinned[name] in text
    assert "latest" not in text


def test_the_swift_class_is_the_one_that_was_read_by_a_swift_parser(folders):
    """No Swift compiler is at hand: a change here has to be looked at, with one or with tree-sitter's grammar."""
    code, example, _ = code_blocks(folders / "ios", "swift")
    assert code == (Path(__file__).parent / "golden/Codec.swift").read_text(encoding="utf-8")
    assert "Items(bytes: bytes, shape: [3, 64])" in example


def test_the_decoders_status_is_what_the_code_takes_it_for(folders):
    """64 bits, without a dimension: Kotlin casts it to Long, Swift loads an Int64, JavaScript compares with 0n."""
    for path in folders.rglob("decoder.*.ort"):
        status = {entry.name: entry for entry in session(path).get_outputs()}["status"]
        assert (status.type, status.shape) == ("tensor(int64)", [])


def test_other_languages_name_the_files_that_are_there(folders):
    for name, language in (("android", "kotlin"), ("ios", "swift"), ("qnn", "python"), ("qnn", "cpp")):
        text = "\n".join(code_blocks(folders / name, language))
        named = {word for word in text.replace('"', " ").split() if word.startswith(("models/", "golden/"))}
        assert named
        assert all((folders / name / path).is_file() for path in named), named
