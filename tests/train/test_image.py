"""The image family's training: what it costs, what it learns, and that a killed run goes on as if it had not been."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_images import picture

from latentwire.runtime.cli.group import main
from latentwire.runtime.errors import InputFileError
from latentwire.train.checkpoint import read
from latentwire.train.errors import RunError, SettingsError
from latentwire.train.image.cost import cost_of, width_for
from latentwire.train.image.integer import IntegerConv, context_features
from latentwire.train.image.loop import ImageLoop
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.photos import Crops, read_photos, scaled_copies
from latentwire.train.image.run import load_image_run, new_network, resume, train
from latentwire.train.image.settings import LAMBDAS, ImageSettings
from latentwire.train.image.transforms import between
from latentwire.train.image.validate import Point, rate_difference, validate
from latentwire.train.loops import threads

SMALL = {
    "width": 8,
    "hyper": 8,
    "lambdas": (0.005, 0.05),
    "batch": 1,
    "scales": (1.0,),
    "threads": 1,
    "warmup": 2,
    "validations": 2,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for k in range(4):
        Image.fromarray(picture(256, 320, seed=k)).save(folder / f"{k}.png")
    return folder


def test_the_default_network_keeps_to_the_devices_budget():
    cost = cost_of(ImageNetwork(list(LAMBDAS)))
    assert cost.device == pytest.approx(2.15, abs=0.01)
    assert cost.analysis == pytest.approx(1.61, abs=0.01)
    assert cost.synthesis == pytest.approx(8.35, abs=0.01)
    assert 6e5 < cost.device_parameters < 7e5
    assert "kMAC/px" in cost.render()


def test_a_budget_picks_the_width():
    assert width_for(5.0, 64) == 88
    assert width_for(2.0, 64) == 24
    with pytest.raises(SettingsError, match="raise it"):
        width_for(0.1, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": 128},
        {"crop": 300},
        {"lambdas": (0.1,)},
        {"lambdas": (0.2, 0.1)},
        {"steps": 0},
        {"distortion": "l1"},
        {"scales": (2.0,)},
    ],
)
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        ImageSettings(**wrong)


def test_exact_layers_give_whole_steps_and_a_gradient():
    torch.manual_seed(0)
    layer = IntegerConv(6, 5, 3)
    value = (torch.randint(0, 256, (1, 6, 8, 8)) / 16).requires_grad_()
    out = layer(value, exact=True)
    found = out.detach()
    assert torch.equal(found * 16, (found * 16).round())
    assert 0 <= float(found.min()) <= float(found.max()) <= 255 / 16
    out.sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    assert value.grad.abs().sum() > 0
    integers = layer.integers()
    assert integers.weight.abs().max() <= 63
    assert integers.weight.abs().amax((1, 2, 3)).min() >= 31  # all six bits are used


def test_context_features_are_bytes():
    values = torch.linspace(-3000, 3000, 801).reshape(1, 1, -1, 1).mul(16).round() / 16
    features = context_features(values, exact=True) * 16
    assert torch.equal(features, features.round())
    assert features.max() == 192
    assert features.min() == 0


def test_quality_moves_between_knots():
    knots = torch.tensor([[0.0, 10.0], [1.0, 20.0], [4.0, 0.0]])
    found = between(knots, torch.tensor([0.0, 0.5, 1.5, 2.0]))[:, :, 0, 0]
    assert found.tolist() == [[0, 10], [0.5, 15], [2.5, 10], [4, 0]]


def test_crops_are_pieces_of_the_pictures(photos):
    pictures = read_photos(photos)
    crops = Crops(pictures, 256, torch.device("cpu"))
    drawn = crops.draw(3, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 3, 256, 256)
    levels = ((drawn[0] + 0.5) * 255).round().byte()
    everywhere = [photo[:, :, x : x + 256] for photo in pictures for x in range(65)]
    assert any(torch.equal(levels, piece) or torch.equal(levels.flip(2), piece) for piece in everywhere)


def test_pictures_that_are_too_small_are_counted_and_none_is_an_error(photos):
    pictures = scaled_copies(read_photos(photos), (1.0, 0.5))
    assert Crops(pictures, 256, torch.device("cpu")).left_out == 4
    with pytest.raises(InputFileError, match="smaller"):
        Crops(pictures[4:], 256, torch.device("cpu"))


def test_a_file_that_is_no_picture_is_named(tmp_path):
    with pytest.raises(InputFileError, match="found none"):
        read_photos(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputFileError, match=r"broken\.png"):
        read_photos(tmp_path)


def test_ten_per_cent_more_rate_is_ten_per_cent():
    base = [Point(0.2 * 2**k, 28.0 + 3 * k) for k in range(4)]
    assert rate_difference(base, [Point(1.1 * p.bpp, p.decibels) for p in base]) == pytest.approx(0.1)


@pytest.mark.slow
def test_training_lowers_the_rate_at_equal_quality(photos):
    settings = ImageSettings(**SMALL, steps=50, learning_rate=4e-4, average=0.9)
    network, pictures = new_network(settings), read_photos(photos)
    crops = Crops(pictures, 256, torch.device("cpu"))
    network.warm_start(crops.draw(100, torch.Generator().manual_seed(0)))
    loop = ImageLoop(network, crops, pictures[:2], settings, torch.device("cpu"))
    with threads(1):
        before = validate(loop.average, pictures[:2], "mse", exact=True)
        for step in range(settings.steps):
            loop.step(step / settings.steps)
        after = validate(loop.average, pictures[:2], "mse", exact=True)
    assert rate_difference(before, after) < -0.02


@pytest.mark.slow
@pytest.mark.parametrize("distortion", ["mse", "ms-ssim", "mix"])
def test_a_run_that_stops_goes_on_as_if_it_had_not(photos, tmp_path, monkeypatch, distortion):
    settings = ImageSettings(**SMALL, steps=4, distortion=distortion, checkpoint_minutes=1e-9)
    train(settings, photos, tmp_path / "whole")
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, photos, tmp_path / "stopped")
    monkeypatch.undo()
    with pytest.raises(RunError, match="not finished"):
        load_image_run(tmp_path / "stopped")
    resume(tmp_path / "stopped")
    first, second = (read(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "stopped"))
    assert first.position == second.position
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "stopped")]
    assert lines[0] == lines[1]
    assert (tmp_path / "whole" / "rate.png").read_bytes().startswith(b"\x89PNG")


def stop_after(monkeypatch, steps: int) -> None:
    """Let the loop's step fail as a user's Ctrl-C would, once so many steps are done."""
    step = ImageLoop.step

    def stopping(self, done):
        if self.position.step == steps:
            raise KeyboardInterrupt
        return step(self, done)

    monkeypatch.setattr(ImageLoop, "step", stopping)


@pytest.mark.slow
def test_the_command_trains_goes_on_from_weights_and_refuses_others(photos, tmp_path):
    small = ["--width", "8", "--lambdas", "0.005,0.05", "--batch", "1", "--scales", "1", "--threads", "1"]
    first = ["train", "image", "--data", str(photos), "--out", str(tmp_path / "a"), "--steps", "1", *small]
    result = CliRunner().invoke(main, first)
    assert result.exit_code == 0, result.output
    again = ["train", "image", "--data", str(photos), "--out", str(tmp_path / "b"), "--initial", str(tmp_path / "a")]
    result = CliRunner().invoke(main, [*again, "--steps", "1", "--distortion", "ms-ssim", *small])
    assert result.exit_code == 0, result.output
    other = CliRunner().invoke(
        main,
        [*again[:-3], str(tmp_path / "c"), *again[-2:], "--steps", "1", "--width", "16", "--lambdas", "0.005,0.05"],
    )
    assert other.exit_code == 1
    assert "found others" in other.output
    assert CliRunner().invoke(main, first).exit_code == 1
    assert CliRunner().invoke(main, ["train", "image", "--out", str(tmp_path / "d")]).exit_code == 2
    network = load_image_run(tmp_path / "b").network
    assert np.isfinite(network.log_gain.numpy()).all()
