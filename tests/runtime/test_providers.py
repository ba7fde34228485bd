"""Which providers are asked for, what came of it, and a real accelerator's interface: OpenVINO, on the CPU's cores."""

import json
import os
import signal
import subprocess
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from click.testing import CliRunner
from matrix import environments

from latentwire.artifacts import locate
from latentwire.runtime import Decoder, Encoder, codec, errors, open_bundle
from latentwire.runtime.cli.group import main
from latentwire.runtime.session import providers as module
from latentwire.runtime.session.profiles import profile_named
from latentwire.runtime.session.providers import ON_CPU, Chosen, alternatives, parse_provider
from latentwire.runtime.session.session import Session

SCRATCH = Path(__file__).parents[2] / "build/matrix"
CUDA = "CUDAExecutionProvider"


def test_an_absent_provider_is_an_error_that_says_what_is_there(bundle):
    with pytest.raises(errors.ProviderError, match=r"CPUExecutionProvider.*onnxruntime-qnn"):
        Encoder(bundle, providers=["qnn"])
    with pytest.raises(errors.ProviderError, match="NoSuch"):
        Encoder(bundle, providers=["NoSuch", "cpu"])
    for wrong in ([], [3]):
        with pytest.raises(errors.SettingError):
            Encoder(bundle, providers=wrong)


def test_names_options_and_the_policy_auto(monkeypatch):
    assert alternatives(None) == alternatives("cpu") == alternatives(["CPUExecutionProvider"]) == (ON_CPU,)
    assert alternatives("auto") == (ON_CPU,)  # this wheel has nothing else
    monkeypatch.setattr(module, "available", lambda: ("CoreMLExecutionProvider", CUDA, "CPUExecutionProvider"))
    assert alternatives("auto") == ((Chosen(CUDA),), (Chosen("CoreMLExecutionProvider"),), ON_CPU)
    (found,) = alternatives([("cuda", {"device_id": "1"}), "cpu"])
    assert found == (Chosen(CUDA, {"device_id": "1"}), *ON_CPU)
    assert [entry.known.name for entry in found] == ["cuda", "cpu"]


def test_a_provider_is_written_with_its_options():
    assert parse_provider("cuda") == ("cuda", {})
    assert parse_provider("openvino:device_type=GPU,num_streams=2") == (
        "openvino",
        {"device_type": "GPU", "num_streams": "2"},
    )
    for wrong in ("cuda:fast", "cuda:=1"):
        with pytest.raises(errors.SettingError, match="KEY=VALUE"):
            parse_provider(wrong)


def test_auto_goes_on_where_an_accelerator_does_not_work_and_says_what_it_took(bundle, monkeypatch):
    monkeypatch.setattr(module, "available", lambda: (CUDA, "CPUExecutionProvider"))
    encoder = Encoder(bundle, providers="auto")
    assert [(place.model, place.providers) for place in encoder.placement] == [("encoder.fp32", ("cpu",))]
    with pytest.raises(errors.ProviderError, match=CUDA):
        Encoder(bundle, providers="cuda")


def falling(monkeypatch, providers, nodes):
    """ONNX Runtime as it is where a provider's libraries are missing, or where it takes no node."""
    import onnxruntime as ort

    class Fallen(ort.InferenceSession):
        def __init__(self, model, options, providers):
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return providers

        def get_provider_graph_assignment_info(self):
            return nodes

    monkeypatch.setattr(ort, "InferenceSession", Fallen)


@pytest.mark.parametrize(
    ("there", "message"),
    [(["CPUExecutionProvider"], "falls back"), ([CUDA, "CPUExecutionProvider"], "takes none of 0")],
)
def test_a_session_that_falls_back_is_refused(bundle, monkeypatch, there, message):
    falling(monkeypatch, there, [])
    model = open_bundle(bundle).read_model("analysis", "fp32")
    with pytest.raises(errors.ProviderError, match=message):
        Session(model, "analysis", (Chosen(CUDA), *ON_CPU), profile_named("device"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_told_that_it_has_no_threads(bundle, digits):
    encoder, decoder = Encoder(bundle, profile="server"), Decoder(bundle, profile="server")
    packet = encoder.encode(digits[:2])
    child = os.fork()
    if not child:
        told = 0
        for work in (lambda: encoder.encode(digits[:2]), lambda: decoder.decode(packet)):
            try:
                work()
            except errors.ForkError:
                told += 1
        os._exit(told)
    signal.alarm(60)  # a child that hangs must not hang the suite
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    signal.alarm(0)
    assert np.array_equal(decoder.decode(packet), decoder.decode(packet))


@pytest.mark.parametrize(
    ("provider", "variant"),
    [("CUDA", "fp32"), ("Xnnpack", "int8"), ("OpenVINO", "fp32"), ("CPU", "fp32"), ("Unheard", "fp32")],
)
def test_the_variant_is_the_manifests_for_the_provider_unless_asked_for(bundle, monkeypatch, provider, variant):
    monkeypatch.setattr(codec, "Sessions", MagicMock())
    codec.Sessions.return_value.read.return_value = b""  # no tables, so no packet has a known cost
    name = f"{provider}ExecutionProvider"
    monkeypatch.setattr(module, "available", lambda: (name,))
    for half in (Encoder, Decoder):
        assert half(bundle, providers=name).variant == variant
        assert half(bundle, providers=name, variant="fp32").variant == "fp32"
    assert Encoder(bundle / "encoder.int8.onnx", providers=name).variant == "int8"


def test_a_provider_whose_best_variant_is_not_in_the_bundle_gets_the_next_one_or_the_default():
    held = {"encoder": ["fp32", "int8"], "decoder": ["fp32"]}
    table = module.provider_variants(held, {"encoder": "int8", "decoder": "fp32"})
    assert table["cpu"] == table["qnn"] == {"encoder": "int8", "decoder": "fp32"}
    assert table["cuda"] == {"encoder": "fp32", "decoder": "fp32"}
    held["encoder"].append("fp16")
    assert module.provider_variants(held, table["cpu"])["cuda"] == {"encoder": "fp16", "decoder": "fp32"}
    assert list(table) == [entry.name for entry in module.PROVIDERS]


@pytest.mark.parametrize(("photo", "size"), [(False, 60), (True, 600)], ids=["items", "picture"])
def test_inputs_bound_in_memory_give_what_arrays_give(photo, size, bundle, digits, monkeypatch):
    """CUDA's path with the CPU's memory in the place of the accelerator's."""
    source = "photo" if photo else bundle
    items = np.arange(64 * 72 * 3).astype(np.uint8).reshape(64, 72, 3) if photo else digits[:3]
    packet, small = Encoder(source).encode(items, 200), Encoder(source).encode(items, max_bytes=size)
    restored = Decoder(source).decode(packet)
    monkeypatch.setattr(Chosen, "memory", ("cpu", 0))
    encoder, decoder = Encoder(source), Decoder(source)
    encoder._by_pieces = decoder._by_pieces = True
    assert encoder.encode(items, 200) == packet
    assert encoder.encode(items, max_bytes=size) == small
    assert np.array_equal(decoder.decode(packet), restored)
    assert np.array_equal(decoder.decode_many([packet] * 2)[1], restored)
    with pytest.raises(errors.CorruptPacketError):
        decoder.decode(packet[:-1])


def test_cuda_binds_inputs_on_the_device_that_its_options_name():
    assert Chosen(CUDA, {"device_id": "1"}).memory == ("cuda", 1)
    assert Chosen(CUDA).memory == ("cuda", 0)
    assert Chosen("CPUExecutionProvider").memory is None


def test_doctor_says_what_is_there_and_where_models_run(bundle):
    told = CliRunner().invoke(main, ["doctor", str(bundle)])
    assert told.exit_code == 0
    assert "without cuda: it comes with onnxruntime-gpu" in told.output
    assert "encoder\n  encoder.fp32: cpu\ndecoder\n  decoder.fp32: cpu" in told.output
    found = json.loads(CliRunner().invoke(main, ["doctor", str(bundle), "--variant", "int8", "--json"]).output)
    assert found["encoder"] == [{"model": "encoder.int8", "providers": ["cpu"], "nodes": None}]
    assert CliRunner().invoke(main, ["doctor", str(bundle), "--provider", "cuda"]).exit_code == 7
    alone = CliRunner().invoke(main, ["doctor"])
    assert alone.exit_code == 0 and "without cuda" in alone.output and "encoder" not in alone.output
    assert json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)["codec_id"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "photo"])
def test_openvino_runs_the_transforms_and_the_cpu_the_coder(name):
    """Its own environment: two wheels of ONNX Runtime cannot live in one."""
    python, _ = environments.openvino(SCRATCH)
    root, codec = Path(module.__file__).parents[3], str(locate(name))
    places = json.loads(latentwire(python, root, "doctor", codec, "--provider", "openvino", "--json"))
    for side, (transform, coder) in {"encoder": ("analysis", "pack"), "decoder": ("synthesis", "unpack")}.items():
        first, second = places[side]
        assert first["model"].startswith(transform)
        assert list(first["nodes"]) == ["openvino"]  # every node
        assert second == {"model": f"{coder}.exact", "providers": ["cpu"], "nodes": None}
    assert "FAIL" not in latentwire(python, root, "selftest", codec, "--provider", "openvino:device_type=CPU")
    assert json.loads(latentwire(python, root, "doctor", codec, "--provider", "auto", "--json")) == places


def latentwire(python: str, root: Path, *words: str) -> str:
    """What a command prints in another environment."""
    command = [python, "-m", "latentwire.runtime", *words]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
