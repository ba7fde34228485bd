"""The weights of an image run alone: what rounding to float16 keeps, and what can be done with them."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from latentwire.runtime.cli.group import main
from latentwire.train import checkpoint
from latentwire.train.errors import RunError, SettingsError
from latentwire.train.image import ImageNetwork, ImageSettings, load_image_run, write_run
from latentwire.train.image.compact import LARGE, compact, half
from latentwire.train.image.integer import IntegerConv
from latentwire.train.image.run import new_network
from latentwire.train.image.weights import load_initial


@pytest.fixture(scope="module")
def network() -> ImageNetwork:
    """Of the usual widths, its weights random and the heads, which start from zero, too."""
    network = new_network(ImageSettings())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, IntegerConv):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * 0.07)
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def run(network: ImageNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = {"train": "/somewhere/photos", "validation": None}
    write_run(folder, network, {"data": data, "settings": {"distortion": "mix"}})
    return folder


def test_integer_layers_stay_what_they_are_and_the_others_come_close(
    network: ImageNetwork, run: Path, tmp_path: Path
) -> None:
    compact(run, tmp_path / "out")
    after = dict(load_image_run(tmp_path / "out").network.named_modules())
    exact = 0
    for name, layer in network.named_modules():
        if isinstance(layer, IntegerConv):
            assert all(map(torch.equal, layer.integers(), after[name].integers())), name
            exact += layer.weight.numel() >= LARGE
        elif isinstance(layer, nn.Conv2d):
            error = (after[name].weight - layer.weight).abs().max()
            assert error <= layer.weight.abs().max() * 2**-10, name
    assert exact >= 12  # float16 was put to the test
    state = checkpoint.read(tmp_path / "out/checkpoint.safetensors").part("best")
    halves = {name for name, value in state.items() if value.dtype == torch.float16}
    assert halves and all(state[name].numel() >= LARGE and name.endswith(".weight") for name in halves)
    sizes = [(folder / "checkpoint.safetensors").stat().st_size for folder in (run, tmp_path / "out")]
    assert sizes[1] < 0.52 * sizes[0]


@pytest.mark.parametrize("along", [0, 1])
def test_rounding_errors_of_a_filter_cancel(along: int) -> None:
    matrix = 1181.4 * 2**-15 + 1e-7 * torch.randn(5, 768, generator=torch.Generator().manual_seed(2))
    matrix = matrix if along else matrix.T
    wanted = matrix.double().sum(along)
    kept, plain = (
        (rounded.double().sum(along) - wanted).abs().max() for rounded in (half(matrix, along), matrix.half())
    )
    assert half(matrix, along).dtype == torch.float16
    assert kept < 2**-14 < 0.009 < plain


def test_the_weights_can_be_gone_on_from_and_name_no_folders(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["weights", str(run), "--out", str(out)])
    assert result.exit_code == 0, result.output
    document = json.loads((out / "run.json").read_text())
    before = json.loads((run / "run.json").read_text())
    assert document["data"]["train"] == "photos" and document["settings"] == before["settings"]
    assert load_image_run(out).distortion == "mix"
    network = new_network(ImageSettings())
    load_initial(network, out)
    assert network.synthesis.klt.patch.weight.dtype == torch.float32


def test_qualities_move_with_the_trade_offs(network: ImageNetwork, run: Path, tmp_path: Path) -> None:
    before = network.lambdas.tolist()
    lower = [before[0] ** 1.5 / before[1] ** 0.5, *before[1:]]  # half a knot further down
    out = tmp_path / "out"
    text = ",".join(map(repr, lower))
    result = CliRunner().invoke(main, ["weights", str(run), "--out", str(out), "--lambdas", text])
    assert result.exit_code == 0, result.output
    document = json.loads((out / "run.json").read_text())
    assert document["settings"]["lambdas"] == pytest.approx(lower)
    assert document["metrics"] is None
    moved = load_image_run(out).network
    assert torch.equal(moved.log_gain[1:], network.log_gain[1:])
    torch.testing.assert_close(moved.log_gain[0], 1.5 * network.log_gain[0] - 0.5 * network.log_gain[1])
    result = CliRunner().invoke(main, ["weights", str(run), "--out", str(tmp_path / "x"), "--lambdas", "0.2,0.1"])
    assert result.exit_code == SettingsError.exit_code and "rising" in result.output
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_handed_on_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        compact(run, run)
    with pytest.raises(RunError, match=r"expected a run folder with run\.json"):
        compact(tmp_path / "none", tmp_path / "out")
    (tmp_path / "part").mkdir()
    document = json.loads((run / "run.json").read_text())
    checkpoint.write_json(tmp_path / "part/run.json", {**document, "finished": False})
    with pytest.raises(RunError, match="not finished"):
        compact(tmp_path / "part", tmp_path / "out")
    assert not (tmp_path / "out").exists()
