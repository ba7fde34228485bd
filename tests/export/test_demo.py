"""The demo from end to end with little training, its two processes by themselves, and what it compares with."""

import contextlib
import io
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.export.demo import rivals
from latentwire.export.demo import wire as wires
from latentwire.export.demo.demo import COMPARED, DemoResult, run_demo
from latentwire.export.demo.wire import DemoError, Wire, over_the_wire
from latentwire.runtime import Decoder, Encoder, parse_header
from latentwire.runtime.files.results import contact_sheet

QUALITIES, BATCHES = (0, 128, 255), (1, 16)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, str, str]:
    """The demo's result, and what it wrote to stdout and stderr meanwhile."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as told:
        result = run_demo(tmp_path_factory.mktemp("demo") / "new" / "folder", epochs=4)
    return result, said.getvalue(), told.getvalue()


@pytest.fixture(scope="module")
def result(outcome: tuple[DemoResult, str, str]) -> DemoResult:
    return outcome[0]


def test_nothing_but_the_result_goes_to_stdout(outcome: tuple[DemoResult, str, str]) -> None:
    _, stdout, stderr = outcome
    assert stdout == ""
    assert [line.partition(":")[0] for line in stderr.splitlines()] == ["train", "export", "wire", "compare"]


def test_learned_packets_are_shorter_than_anything_lossless(result: DemoResult) -> None:
    ways = {way.name: way for way in result.ways}
    lossless = [way for way in result.ways if way.mse == 0]
    assert [way.name for way in lossless] == ["pixels as they are", "zlib", "PNG", "WebP lossless"]
    assert ways["zlib"].alone > ways["zlib"].together > 16
    coded = [ways[f"latentwire, quality {quality}"] for quality in COMPARED]
    for way in coded:
        assert way.alone < min(rival.alone for rival in lossless)
        assert way.together < min(rival.together for rival in lossless)
    for lower, higher in pairwise(coded):
        assert lower.together < higher.together and lower.mse > higher.mse
    # Half as much error as the mean digit leaves (0.073), even with so little training.
    assert ways["latentwire, quality 128"].mse < 0.03


def test_float_latents_are_the_network_without_a_codec(result: DemoResult) -> None:
    ways = {way.name: way for way in result.ways}
    assert (ways["float32 latents"].alone, ways["float16 latents"].alone) == (128, 64)
    assert ways["float16 latents"].mse == pytest.approx(ways["float32 latents"].mse, rel=1e-3)
    best = ways["latentwire, quality 255"]
    assert ways["float32 latents"].mse < best.mse < 1.5 * ways["float32 latents"].mse


def test_the_folder_holds_codec_picture_and_figures(result: DemoResult) -> None:
    assert sorted(path.name for path in result.folder.iterdir()) == ["bundle", "demo.png", "results.json"]
    assert json.loads((result.folder / "results.json").read_text()) == json.loads(json.dumps(result.to_json()))
    assert Encoder(result.folder / "bundle", variant="int8").codec_id == result.codec_id
    with Image.open(result.folder / "demo.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 15


def test_the_table_says_what_was_measured(result: DemoResult) -> None:
    table = result.render()
    for way in result.ways:
        line = next(line for line in table.splitlines() if line.startswith(way.name))
        cells = line.removeprefix(way.name).split()
        assert cells[:2] == [f"{way.alone:.1f}", f"{way.together:.1f}"]
        assert cells[3] == ("lossless" if way.mse == 0 else f"{-10 * np.log10(way.mse):.1f}")
    checks = len(result.parity["checks"])
    assert result.parity["passed"] and f"parity: holds, {checks} of {checks} checks on 359 digits" in table
    assert all(0 < entry.encode_ms < 1000 and 0 < entry.decode_ms < 1000 for entry in result.latencies)


@pytest.fixture(scope="module")
def sent(digits: np.ndarray) -> np.ndarray:
    return digits[:50]


@pytest.fixture(scope="module")
def wire(bundle: Path, sent: np.ndarray) -> Wire:
    return over_the_wire(bundle, sent, QUALITIES, BATCHES, device_variant="int8", server_variant="fp32")


def test_the_server_receives_what_this_process_would_have_sent(wire: Wire, bundle: Path, sent: np.ndarray) -> None:
    encoder = Encoder(bundle, variant="int8")
    wanted = [
        packet
        for quality in QUALITIES
        for batch in BATCHES
        for packet in encoder.encode_stream(sent, quality, batch=batch)
    ]
    assert wire.packets == tuple(wanted)
    assert len(wanted) == len(QUALITIES) * (50 + 4)


def test_the_server_decodes_what_this_process_would_have_decoded(wire: Wire, bundle: Path, sent: np.ndarray) -> None:
    decoder = Decoder(bundle, variant="fp32")
    decoded = np.concatenate([decoder.decode(packet) for packet in wire.packets])
    received = np.concatenate([flow.items for flow in wire.flows])
    assert np.array_equal(decoded, received)
    assert all(flow.items.shape == sent.shape and flow.items.dtype == sent.dtype for flow in wire.flows)


def test_every_flow_has_its_own_packets_bytes(wire: Wire) -> None:
    lengths: dict[int, int] = {}
    for packet in wire.packets:
        quality = parse_header(packet).quality
        lengths[quality] = lengths.get(quality, 0) + len(packet)
    for quality in QUALITIES:
        flows = [wire.flow(quality, batch) for batch in BATCHES]
        assert 50 * sum(flow.bytes_per_item for flow in flows) == pytest.approx(lengths[quality])
        assert flows[0].bytes_per_item > flows[1].bytes_per_item


def test_neither_process_imports_what_builds_codecs(wire: Wire) -> None:
    for modules in (wire.device_modules, wire.server_modules):
        assert {"latentwire.runtime", "numpy", "onnxruntime"} <= set(modules)
        roots = {name.partition(".")[0] for name in modules}
        assert not roots & {"torch", "onnx", "onnxscript", "sklearn", "matplotlib", "safetensors", "click"}
        assert not any(name.startswith(("latentwire.train", "latentwire.export")) for name in modules)
    assert "torch" in sys.modules  # this process, in contrast, has it


@pytest.mark.parametrize("module", ["torch", "onnx.helper", "latentwire.train.run", "latentwire.export"])
def test_a_process_that_imports_more_is_found_out(module: str) -> None:
    with pytest.raises(DemoError, match=f"the device .*{module}"):
        wires.check_modules("device", ["latentwire.runtime", "numpy", module])


def test_a_device_that_fails_is_quoted(bundle: Path, sent: np.ndarray) -> None:
    with pytest.raises(DemoError, match=r"the device ended with 1: VariantError: expected encoder\.int4") as caught:
        over_the_wire(bundle, sent, (128,), (1,), device_variant="int4", server_variant="fp32")
    assert "the server" not in str(caught.value)


def test_a_server_that_fails_is_quoted(bundle: Path, sent: np.ndarray) -> None:
    with pytest.raises(DemoError, match=r"print its port, found '': VariantError: expected decoder\.int4"):
        over_the_wire(bundle, sent, (128,), (1,), device_variant="int8", server_variant="int4")


SILENT = "import time; time.sleep(60)"
DEAF = "import time; print(9, flush=True); time.sleep(60)"
FORGETFUL = "print(9, flush=True)"


@pytest.mark.parametrize(
    ("server", "device", "message"),
    [
        (SILENT, FORGETFUL, "to print its port, found ''"),
        (DEAF, SILENT, "the device did not end in time.*the server did not end in time"),
        (DEAF, "import sys; sys.exit('out of battery')", "the device ended with 1: out of battery$"),
    ],
)
def test_processes_that_hang_are_ended(
    bundle: Path,
    sent: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    device: str,
    message: str,
) -> None:
    started = []
    popen = wires.subprocess.Popen
    monkeypatch.setattr(wires.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    monkeypatch.setattr(wires, "SCRIPTS", tmp_path)
    monkeypatch.setattr(wires, "GRACE", 0.1)
    (tmp_path / "server.py").write_text(server)
    (tmp_path / "device.py").write_text(device)
    with pytest.raises(DemoError, match=message):
        over_the_wire(bundle, sent, (128,), (1,), device_variant="int8", server_variant="fp32", timeout=1.0)
    assert started and all(process.poll() is not None for process in started)


def test_packets_that_are_lost_on_the_way_are_missed() -> None:
    sent = [{"quality": 9, "batch": 1, "bytes": 20, "seconds": 0.1}] * 3
    received = [{"quality": 9, "items": 1, "seconds": 0.1}] * 2
    with pytest.raises(DemoError, match="3 packets"):
        list(wires.flows_of(sent, received, np.zeros((2, 64)), 3))


@pytest.mark.parametrize("code", [rivals.png, rivals.webp])
def test_lossless_rivals_lose_nothing(code, digits: np.ndarray) -> None:
    for count in (1, 7, 64):
        items = digits[:count]
        with Image.open(io.BytesIO(code(items))) as picture:
            assert np.array_equal(np.asarray(picture.convert("L")), contact_sheet(items))


def test_rivals_are_measured_over_all_items(bundle: Path, digits: np.ndarray) -> None:
    items = digits[:70]
    found = {way.name: way for way in rivals.rivals(bundle, items, 64)}
    assert found["zlib"].alone == sum(len(rivals.deflated(item)) for item in items) / 70
    wanted = (len(rivals.deflated(items[:64])) + len(rivals.deflated(items[64:]))) / 70
    assert found["zlib"].together == wanted
    assert found["float32 latents"].alone == 40
