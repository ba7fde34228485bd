"""`latentwire import`: factories, weights, recipes; the commands as they are typed."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from linear import principal_components
from safetensors.torch import save_file
from torch import nn

from latentwire.export import export_codec
from latentwire.export.bring import FactoryError, WeightsError, load_weights, make_model
from latentwire.export.bring.options import Codec, codec_options
from latentwire.runtime import Decoder, Encoder, open_bundle
from latentwire.runtime.cli import main

NETWORKS = """
from torch import nn

class Linear(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, width), nn.Linear(width, 64)

def pair(width=4):
    model = Linear(width)
    return model.encoder, model.decoder

def broken():
    raise RuntimeError("no luck today")

def nothing():
    return 7

class Zoo:
    linear = Linear

ready = Linear()
number = 5
"""
WIDTH = 6


@pytest.fixture(scope="module")
def state(digits: np.ndarray) -> dict[str, torch.Tensor]:
    """Weights of a linear autoencoder of digits in [0, 1]."""
    halves = zip(("encoder", "decoder"), principal_components(digits / 16, WIDTH), strict=True)
    return {f"{role}.{name}": value for role, half in halves for name, value in half.state_dict().items()}


@pytest.fixture(scope="module")
def place(state: dict[str, torch.Tensor], digits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as somebody works in it: a program, weights, items."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "their_networks.py").write_text(NETWORKS)
    (folder / "their_broken_module.py").write_text("import a_library_that_is_not_here\n")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, folder / "w.pth.tar"
    )
    np.save(folder / "items.npy", (digits[:600] / 16).astype(np.float32))
    return folder


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    yield place
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, words)])


def linear(width: int = WIDTH) -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(64, width), "decoder": nn.Linear(width, 64)})


SAVED: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "plain.safetensors": lambda state: state,
    "parallel.safetensors": lambda state: {f"module.{name}": value for name, value in state.items()},
    "plain.pt": lambda state: state,
    "trainer.pth": lambda state: {"model_state_dict": state, "optimizer": {"step": 3}, "loss": 0.5},
    "package.pth.tar": lambda state: {"state_dict": state, "epoch": 3},
    "lightning.ckpt": lambda state: {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model._orig_mod.{name}": value for name, value in state.items()},
        "callbacks": {},
    },
    "deep.bin": lambda state: {"net": {"state_dict": {f"module.model.{name}": value for name, value in state.items()}}},
    "half.pt": lambda state: {name: value.half() for name, value in state.items()},
}


@pytest.mark.parametrize("name", SAVED)
def test_weights_are_found_wherever_trainers_put_them(name, state, tmp_path):
    held = SAVED[name](state)
    save_file(held, tmp_path / name) if name.endswith(".safetensors") else torch.save(held, tmp_path / name)
    model = linear()
    notes = load_weights(model, tmp_path / name)
    wanted = {key: value.half().float() if name == "half.pt" else value for key, value in state.items()}
    assert all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())
    assert name in notes[0]


class Runs:
    """Code, in a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch it_ran",)


def test_weights_that_need_code_are_refused_and_do_not_run(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, held in {
        "code.pt": state | {"extra": Runs()},
        "whole.pth": linear(),
        "array.ckpt": {"a": np.ones(3)},
    }.items():
        torch.save(held, name)
        with pytest.raises(WeightsError, match=r"would run code .* torch.save\(model.state_dict\(\)"):
            load_weights(linear(), Path(name))
    assert not Path("it_ran").exists()


def test_weights_of_something_else_are_refused(state, tmp_path):
    def saved(name: str, held: Any) -> Path:
        torch.save(held, tmp_path / name)
        return tmp_path / name

    more = {key: value for key, value in state.items() if key != "encoder.bias"} | {"loss.weight": torch.ones(2)}
    whole = saved("whole.pt", state)
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)))
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "weights.h5").write_bytes(b"")
    for path, said in (
        (saved("more.pt", more), "1 missing: encoder.bias; 1 unexpected: loss.weight"),
        (saved("wide.pt", {key: torch.cat([value, value]) for key, value in state.items()}), "4 of another shape"),
        (saved("none.pt", {"epoch": 3}), "expected tensors by name, .* found epoch"),
        (saved("list.pt", [torch.ones(2)]), "found a list"),
        (tmp_path / "cut.pt", "cut.pt: expected"),
        (tmp_path / "noise.pt", "noise.pt: expected"),
        (tmp_path / "noise.safetensors", "expected a safetensors file"),
        (tmp_path / "weights.h5", r"found \.h5"),
        (tmp_path / "absent.pt", "found none"),
    ):
        with pytest.raises(WeightsError, match=said):
            load_weights(linear(), path)


@pytest.mark.parametrize("name", ["Linear", "pair", "Zoo.linear", "ready"])
def test_a_factory_is_a_function_a_class_or_a_model(name, there):
    model = make_model(f"their_networks:{name}", {} if name == "ready" else {"width": WIDTH})
    width = 4 if name == "ready" else WIDTH
    assert not model.training
    assert {key: list(value.shape) for key, value in model.state_dict().items()}["encoder.weight"] == [width, 64]


@pytest.mark.parametrize(
    ("named", "arguments", "said"),
    [
        ("their_networks.Linear", {}, "put a colon before"),
        ("their_absent:Linear", {}, "expected a module their_absent in .* or installed here"),
        ("their_networks.deeper:Linear", {}, "importing their_networks.deeper failed|expected a module"),
        ("their_broken_module:Linear", {}, "importing their_broken_module failed: .*a_library_that_is_not_here"),
        ("their_networks:Other", {}, "expected 'Other' in their_networks, found none; there are .*Linear"),
        ("their_networks:number", {}, "found a int"),
        ("their_networks:broken", {}, r"no luck today \(.*their_networks.py, line"),
        ("their_networks:Linear", {"depth": 2}, "--arg name=value"),
        ("their_networks:nothing", {}, "expected it to return a torch module"),
        ("their_networks:ready", {"width": 2}, "expected a function or class to hand arguments to"),
    ],
)
def test_what_is_wrong_with_a_factory_is_named(named, arguments, said, there):
    with pytest.raises(FactoryError, match=said):
        make_model(named, arguments)


def test_a_factory_and_its_weights_become_a_bundle(there, tmp_path, state):
    """From the current directory, which is not on the path of the command."""
    out = tmp_path / "codec"
    asked = ["their_networks:Linear", "--arg", f"width={WIDTH}", "--weights", "w.pth.tar", "--data", "items.npy"]
    done = command("torch", *asked, "--range", "0,1", "--precision", "fp32", "--out", out, "--terms", "none", "--json")
    assert done.exit_code == 0, done.output
    answer, bundle = json.loads(done.stdout), open_bundle(out)
    assert answer["codec_id"] == bundle.manifest.codec_id and answer["parity"]["passed"] is True
    assert "weights: 'module.' was taken off their names" in answer["notes"]
    training = bundle.manifest.provenance.training
    assert training["import"] == {
        "kind": "torch",
        "model": "their_networks:Linear",
        "arg": {"width": WIDTH},
        "weights": "w.pth.tar",
        "data": "items.npy",
        "range": [0.0, 1.0],
        "precision": ["fp32"],
        "terms": "none",
    }
    assert len(training["weights_sha256"]) == 64 and training["terms"] == "none"
    items = np.load("items.npy")[:5]
    back = Decoder(out).decode(Encoder(out).encode(items, 255))
    with torch.no_grad():
        model = make_model("their_networks:Linear", {"width": WIDTH})
        model.load_state_dict(state)
        alone = model.decoder(model.encoder(torch.tensor(items))).numpy()
    low, high = bundle.manifest.output.range
    assert np.abs(back - alone.clip(low, high)).max() < 0.05
    assert command("torch", *asked, "--out", out).exit_code == 1  # it is there already


def test_a_recipe_holds_the_options_and_the_command_line_goes_first(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = place / "import.toml"
    recipe.write_text(
        'kind = "torch"\nmodel = "their_networks:pair"\nweights = "w.pth.tar"\ndata = "items.npy"\nrange = [0, 1]\n'
        'precision = ["fp32", "fp16"]\nout = "from_recipe"\nname = "theirs"\narg = { width = 2, other = 1 }\n'
    )
    wrong = command("--recipe", recipe)
    assert wrong.exit_code == 2 and "width=2, other=1" in wrong.output
    recipe.write_text(recipe.read_text().replace(", other = 1", ""))
    done = command("--recipe", recipe, "--arg", f"width={WIDTH}", "--precision", "fp32", "--check")
    assert done.exit_code == 0, done.output
    assert "nothing was written" in done.stdout and "ok   " in done.stdout
    assert not (place / "from_recipe").exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind = ", "expected TOML"),
        ('model = "x:y"', 'such as kind = "torch"'),
        ('kind = "keras"', "expected a kind of compressai, onnx, torch"),
        ('kind = "torch"\nwidht = 3', "found widht"),
        ('kind = "torch"\nencoder = "e.onnx"', "found encoder"),
        ('kind = "torch"\ndata = 3', "data: expected a path, found 3"),
        ('kind = "torch"\narg = "width=3"', "arg: expected a table"),
        ('kind = "torch"\nmodel = "their_networks:Linear"\ndata = "items.npy"\nrange = [0]', "expected 2 numbers"),
    ],
)
def test_a_recipe_is_read_strictly(text, said, place, tmp_path):
    (tmp_path / "import.toml").write_text(text)
    (tmp_path / "items.npy").write_bytes((place / "items.npy").read_bytes())
    done = command("--recipe", tmp_path / "import.toml", "--check")
    assert done.exit_code == 2 and said in done.output, done.output


def test_options_are_read_strictly(there):
    base = ["torch", "their_networks:Linear", "--data", "items.npy"]
    for words, said in (
        ([], "Missing option '--out'"),
        (["--check", "--range", "1"], "expected 2 numbers"),
        (["--check", "--mean", "a,b"], "numbers with commas"),
        (["--check", "--arg", "width"], "expected name=value"),
        (["--recipe", "their_networks.py"], "expected TOML"),
    ):
        done = command(*base, *words)
        assert done.exit_code == 2 and said in done.output, done.output


@click.command()
@codec_options
def show(codec: Codec) -> None:
    click.echo(
        json.dumps(codec.told(), default=lambda value: str(value) if isinstance(value, Path) else value.tolist())
    )


def shown(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(show, words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_options_are_the_arguments_of_export_codec(tmp_path):
    plain = {"cast": False, "dynamic": False, "precisions": ["fp32", "int8"]}
    assert shown() == plain
    np.save(tmp_path / "books.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    asked = [
        "--latent",
        "latent_dist.mean",
        "--range",
        "-1,1",
        "--mean",
        "0.5",
        "--std",
        "0.1,0.2",
        "--channels",
        "last",
    ]
    asked += ["--data-range", "0,9", "--range-margin", "0", "--output-range", "0,1", "--out-of-range", "clip", "--cast"]
    asked += ["--steps", "1", "--dynamic", "--precision", "fp32", "--holdout", str(tmp_path)]
    assert shown(*asked) == {
        "latent": "latent_dist.mean",
        "input_range": [-1, 1],
        "mean": [0.5],
        "std": [0.1, 0.2],
        "channels": "last",
        "data_range": [0, 9],
        "range_margin": 0,
        "output_range": [0, 1],
        "out_of_range": "clip",
        "cast": True,
        "steps": 1,
        "dynamic": True,
        "precisions": ["fp32"],
        "holdout": str(tmp_path),
    }
    indices = ["--latents", "indices", "--planes", "1", "--latent", "2"]
    told = plain | {"latents": "indices", "planes": 1, "latent": 2}
    assert shown(*indices, "--codebook", "512") == told | {"codebook": 512}
    assert shown(*indices, "--vectors", str(tmp_path / "books.npy")) == told | {"codebook": [[0, 1, 2], [3, 4, 5]]}
    assert CliRunner().invoke(show, ["--codebook", "3", "--vectors", str(tmp_path / "books.npy")]).exit_code == 2


def test_no_argument_of_export_codec_is_without_an_option():
    theirs = set(inspect.signature(export_codec).parameters)
    ours = {field.name for field in fields(Codec)} - {"vectors"}
    assert theirs - ours == {
        "model",
        "data",
        "out",
        "family",
        "name",
        "training",
        "calibration",
        "overwrite",
        "on_stage",
    }
    assert ours <= theirs


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from latentwire.runtime.cli import main
main(sys.argv[1:])
"""


def write_half(path: Path, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """A linear layer as an ONNX file."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 20]>
        half (float[n, {weight.shape[1]}] x) => (float[n, {weight.shape[0]}] y) {{ y = Gemm <transB = 1> (x, w, b) }}
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight.numpy(), "w"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(bias.numpy(), "b"))
    onnx.save(model, path)


def test_onnx_files_need_no_torch(place, state, tmp_path):
    for role in ("encoder", "decoder"):
        write_half(tmp_path / f"{role}.onnx", state[f"{role}.weight"], state[f"{role}.bias"])
    words = ["--encoder", "encoder.onnx", "--decoder", "decoder.onnx", "--data", str(place / "items.npy")]
    asked = ["import", "onnx", *words, "--precision", "fp32", "--out", "codec", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *asked], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bundle"] == "codec"
    training = open_bundle(tmp_path / "codec").manifest.provenance.training
    assert training["import"]["encoder"] == "encoder.onnx" and training["import"]["data"] == "items.npy"
    items = np.load(place / "items.npy")[:5]
    back = Decoder(tmp_path / "codec").decode(Encoder(tmp_path / "codec").encode(items, 255))
    assert np.square(back - items).mean() < 0.05
