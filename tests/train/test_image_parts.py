"""The image family's parts: integer layers against int64, knots, curves of rate, what is counted and what is judged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from latentwire.runtime.errors import InputChoiceError, InputFileError, InputShapeError
from latentwire.runtime.files import PictureOptions
from latentwire.train.errors import SettingsError
from latentwire.train.image.cost import cost_of, width_for
from latentwire.train.image.integer import UNIT, IntegerConv, context_features
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.photos import read_material, read_photos, scaled_copies
from latentwire.train.image.settings import LAMBDAS, ImageSettings
from latentwire.train.image.validate import Point, judged, rate_difference
from latentwire.train.image.weights import moved_knots


def integer_convolution(layer: IntegerConv, value: np.ndarray) -> np.ndarray:
    """The layer on counts of input steps, int64 [in, H, W] to counts of output steps, with nothing but integers.

    Without activation, to the sums themselves.
    """
    weight, bias, shift = (part.numpy().astype(np.int64) for part in layer.integers())
    size, stride, padding = weight.shape[-1], layer.stride[0], layer.padding[0]
    padded = np.pad(value, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
    total = np.einsum("ihwkl,oikl->ohw", windows, weight) + bias[:, None, None]
    assert np.abs(total).max() < 2**24
    if not layer.activation:
        return total
    column = shift[:, None, None]
    floor, rest = np.divmod(total, column)
    return np.clip(floor + ((2 * rest > column) | ((2 * rest == column) & (floor % 2 == 1))), 0, 255)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize("activation", [True, False])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.01, 0.3, 4.0]))
def test_exact_layers_are_the_int64_computation(
    size: int, stride: int, activation: bool, seed: int, spread: float
) -> None:
    torch.manual_seed(seed)
    units = torch.tensor([UNIT, UNIT, 8 * UNIT])
    layer = IntegerConv(5, 3, size, stride=stride, units=UNIT if activation else units, activation=activation)
    with torch.no_grad():
        layer.weight.mul_(spread)
        layer.bias.mul_(spread * 20)
    counts = torch.randint(0, 256, (1, 5, 8, 8))
    with torch.no_grad():
        steps = layer.units if activation else layer.scales() * UNIT
        found = layer(counts / UNIT, exact=True)[0] * steps[:, None, None]
    assert np.array_equal(found.numpy(), integer_convolution(layer, counts[0].numpy()))
    weight = layer.integers().weight
    assert weight.dtype == torch.int8 and weight.abs().max() <= 63


def test_context_features_are_those_of_the_formula() -> None:
    sixteenths = np.arange(-40_000, 40_001, 7)
    value = torch.tensor(sixteenths / 16, dtype=torch.float32).reshape(1, 1, -1, 1)
    found = (context_features(value, exact=True) * 16)[0, :, :, 0].numpy()
    size = np.abs(sixteenths)
    expected = np.minimum(size, 64) + np.minimum(size, 2048) // 16
    assert np.array_equal(found, [expected, expected * (sixteenths > 0)])


def test_costs_are_those_of_a_count_by_hand() -> None:
    cost = cost_of(ImageNetwork(list(LAMBDAS), width=96))
    blocks = (96 * 25 + 2 * 96 * 192) / 64 + 2 * (192 * 25 + 2 * 192 * 384) / 256
    analysis = 20 * 20 * 3 * 256 / 256 + 192 * 96 / 64 + blocks + 4 * 96 * 192 / 256 + 192 * 256 / 256
    assert cost.analysis == pytest.approx(analysis / 1000)
    hyper = (288 * 96) / 256 + 16 * 96 * 96 / 1024 + 16 * 96 * 64 / 4096
    assert cost.hyper_analysis == pytest.approx(hyper / 1000)
    assert cost.device == pytest.approx(cost.analysis + cost.hyper_analysis + cost.probability)
    assert cost.server == pytest.approx(cost.probability + cost.synthesis)
    synthesis = (256 * 192 + 6 * (192 * 25 + 2 * 192 * 384) + 192 * 384 + 256 * 20 * 20 * 3) / 256
    synthesis += (4 * (96 * 25 + 2 * 96 * 192) + 96 * 12 * 12 * 3) / 64
    assert cost.synthesis == pytest.approx(synthesis / 1000)
    assert (cost.device_parameters, cost.server_parameters) == (1_842_464, 2_324_304)
    assert cost.device_peak_bytes == 4 * (3 + 96 / 64)  # the first layer's picture and output
    assert cost.server_peak_bytes == 4 * (96 + 12 * 12 * 3) / 64  # the last layer, before its patches are added up


def test_a_budget_is_spent_as_far_as_it_goes() -> None:
    cost = [cost_of(ImageNetwork([0.01, 0.1], width=width)).device for width in (88, 96, 104)]
    assert cost == sorted(cost)
    assert width_for(cost[1], 64) == 96
    assert width_for(cost[2] - 1e-6, 64) == 96
    assert cost_of(ImageNetwork([0.01, 0.1], width=ImageSettings().width)).device < 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": 192}, "hyper-latents see padding more than picture"),
        ({"width": 12}, "multiple of 8"),
        ({"validations": 0}, "validations must be at least 1"),
        ({"exact_from": 1.0}, "exact_from must be"),
        ({"device": "tpu"}, "device must be one of"),
        ({"steps": 0}, "must say when to stop"),
    ],
)
def test_wrong_settings_say_why(wrong: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ImageSettings(**wrong)


def curve(*points: tuple[float, float]) -> list[Point]:
    return [Point(*point) for point in points]


def test_rate_differences_are_bjontegaards_with_monotone_cubics() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        curves = [
            curve(*zip(np.sort(rng.uniform(0.1, 2, 4)), np.sort(rng.uniform(25, 40, 4)), strict=True)) for _ in range(2)
        ]
        low = max(points[0].decibels for points in curves)
        high = min(points[-1].decibels for points in curves)
        if low >= high:
            continue
        at = np.linspace(low, high, 256)
        logs = [PchipInterpolator([p.decibels for p in c], np.log([p.bpp for p in c]))(at).mean() for c in curves]
        assert rate_difference(*curves) == pytest.approx(np.exp(logs[1] - logs[0]) - 1)


def test_curves_without_a_common_quality_can_still_be_ranked() -> None:
    base = curve((0.2, 28), (0.4, 31), (0.8, 34))
    assert rate_difference(base, curve((0.2, 36), (0.4, 39))) < -0.5
    assert rate_difference(base, curve((2.0, 20), (4.0, 23))) > 1
    assert rate_difference(base, [base[0]] * 3) == pytest.approx(0)


def test_knots_move_along_straight_lines_of_the_logarithm() -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, 1.0], [6.0, 0.0]])
    found = moved_knots(values, [0.01, 0.1, 1.0], [0.001, 0.01, 0.01 * 10**0.5, 1.0, 10.0])
    assert torch.allclose(found, torch.tensor([[-2.0, 1.0], [0.0, 1.0], [1.0, 1.0], [6.0, 0.0], [10.0, -1.0]]))
    assert moved_knots(values, [0.01, 0.1, 1.0], [0.01, 0.1, 1.0]) is values


def test_pictures_of_any_kind_become_colour_and_any_size_is_scaled(tmp_path) -> None:
    from PIL import Image

    (tmp_path / "inner").mkdir()
    Image.new("L", (9, 7), 40).save(tmp_path / "a.png")
    Image.new("RGBA", (1, 1), (1, 2, 3, 255)).save(tmp_path / "inner/b.png")
    (tmp_path / "notes.txt").write_text("no picture")
    grey, dot = read_photos(tmp_path)
    assert grey.shape == (3, 7, 9) and grey.dtype == torch.uint8 and (grey == 40).all()
    assert [photo.shape[1:] for photo in scaled_copies([grey, dot], (0.5,))] == [(4, 4), (1, 1)]


def test_what_would_be_lost_is_refused_by_name_or_asked_for(tmp_path) -> None:
    from PIL import Image

    Image.new("RGBA", (2, 2), (1, 2, 3, 0)).save(tmp_path / "through.png")
    with pytest.raises(InputFileError, match=r"through\.png: expected an opaque picture, found alpha"):
        read_photos(tmp_path)
    assert (read_photos(tmp_path, PictureOptions(background="white"))[0] == 255).all()
    Image.fromarray(np.full((2, 2), 1000, np.uint16)).save(tmp_path / "through.png")
    with pytest.raises(InputFileError, match=r"through\.png: expected samples of 8 bits, found samples of 16"):
        read_photos(tmp_path)
    assert (read_photos(tmp_path, PictureOptions(depth=8))[0] == 3).all()


def test_a_cut_file_is_named(tmp_path) -> None:
    from PIL import Image

    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputFileError, match=r"cut\.png"):
        read_photos(tmp_path)


def test_files_that_cannot_be_read_are_left_out_as_if_they_were_not_there(tmp_path) -> None:
    from PIL import Image

    for level in range(4):
        Image.effect_noise((64, 64), 10 * level).save(tmp_path / f"{level}.png")
    clean = read_material(tmp_path, None)
    content = (tmp_path / "3.png").read_bytes()
    (tmp_path / "1 cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "2 text.jpg").write_text("no picture")
    Image.new("CMYK", (64, 64)).save(tmp_path / "3 inks.tif")
    material = read_material(tmp_path, None)
    assert material.digest() == clean.digest()
    assert [Path(str(fault.file)).name for fault in material.bad] == ["1 cut.png", "2 text.jpg", "3 inks.tif"]
    both = read_material(tmp_path, tmp_path)
    assert len(both.held) == 4 and len(both.bad) == 6
    Image.new("RGBA", (64, 64)).save(tmp_path / "4.png")
    with pytest.raises(InputChoiceError, match=r"4\.png: expected an opaque picture, found alpha"):
        read_material(tmp_path, None)
    (tmp_path / "4.png").write_text("no picture")
    (tmp_path / "5.png").write_text("no picture")
    with pytest.raises(InputFileError, match=r"found 5 that cannot beside 4 that can; the first of them: .*1 cut\.png"):
        read_material(tmp_path, None)


def test_every_20th_picture_is_held_back(tmp_path) -> None:
    from PIL import Image

    for level in range(21):
        Image.new("L", (2, 2), level).save(tmp_path / f"{level:02}.png")
    material = read_material(tmp_path, None)
    assert [int(photo[0, 0, 0]) for photo in material.held] == [0, 20]
    assert [int(photo[0, 0, 0]) for photo in material.train] == [*range(1, 20)]
    assert len(read_material(tmp_path, tmp_path).train) == 21
    assert material.digest() != read_material(tmp_path, tmp_path).digest()


def test_ms_ssim_judges_only_pictures_it_can_be_computed_on() -> None:
    small, large = torch.zeros(3, 160, 400, dtype=torch.uint8), torch.zeros(3, 161, 161, dtype=torch.uint8)
    assert len(judged([small, large], "mse", 9)) == 2
    assert judged([small, large], "mix", 9) == [large]
    assert len(judged([large] * 20, "ms-ssim", 6)) == 5
    with pytest.raises(InputShapeError, match="at least 161 pixels"):
        judged([small], "ms-ssim", 3)
