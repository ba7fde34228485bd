"""Training for MS-SSIM: steps for another distortion, their law and what they win; errors that its cells hide."""

import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_images import LAMBDAS, picture, small_network
from torch import Tensor

from latentwire.train.cli import train as train_command
from latentwire.train.image.distortion import distortion, framed, squared_error
from latentwire.train.image.loop import ImageLoop
from latentwire.train.image.network import Coded, ImageNetwork
from latentwire.train.image.photos import Crops, read_photos
from latentwire.train.image.prior import row_scale
from latentwire.train.image.settings import ImageSettings
from latentwire.train.image.steps import fit_steps
from latentwire.train.image.transforms import between
from latentwire.train.image.validate import judged, rate_difference, validate
from latentwire.train.image.weights import read_network

PHOTO = Path(__file__).parents[2] / "artifacts/weights/photo"


@pytest.fixture
def crops() -> Crops:
    photos = [torch.from_numpy(picture(256, 272, seed=seed)).permute(2, 0, 1) for seed in range(4)]
    return Crops(photos, 256, torch.device("cpu"))


def test_the_probability_model_expects_what_was_rescaled() -> None:
    torch.manual_seed(3)
    network = small_network()
    for stage in network.prior.stages:
        torch.nn.init.normal_(stage.head.weight, std=0.1)
        torch.nn.init.normal_(stage.head.bias, std=0.1)
    network.prior.base.fill_(30)  # no row may meet an end of the table
    latents = torch.rand(1, len(network.log_gain[0]), 8, 8) * 3 - 1.5  # where features of latents are linear
    factor = torch.rand(latents.shape[1]) + 0.5
    before, level = _predicted(network, latents), torch.tensor([1.0])
    steps = torch.exp(between(network.log_gain, level))
    network.rescale(factor)
    factor = factor[:, None, None]
    after = _predicted(network, latents * factor)
    assert torch.allclose(after[0], before[0], atol=1e-4)
    assert torch.allclose(after[1], before[1] * factor, atol=1e-4) and before[1].abs().max() > 0.1
    assert torch.allclose(after[2], before[2] * factor, rtol=1e-3)
    assert torch.allclose(torch.exp(between(network.log_gain, level)), steps * factor)


def _predicted(network: ImageNetwork, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hyper-latents, and means and scales of latents in quantization steps at level 1, in floats."""
    hyper = network.hyper_analysis(latents, exact=False)
    base = between(network.prior.base, torch.tensor([1.0]))
    stages = network.prior.predictions(torch.ones_like(hyper), base, exact=False)
    stage, mean, rows = next(stages)
    means, scales = [mean], [row_scale(rows)]
    for at in network.prior.stages[1:]:
        _, mean, rows = stages.send(latents[:, stage.start : stage.start + stage.channels])
        stage = at
        means.append(mean)
        scales.append(row_scale(rows))
    return hyper, torch.cat(means, 1), torch.cat(scales, 1)


def test_steps_follow_the_slope_of_the_distortion(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distortion four times as large wants steps half as large; one that sees red alone leaves blue and green be."""

    def weighted(kind: str, restored: Tensor, image: Tensor) -> Tensor:
        if kind == "mse":
            return squared_error(restored, image)
        return 4 * squared_error(restored, image) if kind == "mix" else squared_error(restored[:, :1], image[:, :1])

    monkeypatch.setattr("latentwire.train.image.steps.distortion", weighted)
    network = ImageNetwork(LAMBDAS, hyper=16, width=16)
    network.warm_start(crops.draw(16, torch.Generator().manual_seed(0)))
    before = network.log_gain.detach().clone()
    factor = fit_steps(network, crops, "mse", "mix", 5)
    assert torch.allclose(factor, torch.full_like(factor, 2.0), rtol=1e-3)
    assert torch.allclose(network.log_gain.detach() - before, torch.log(factor).expand_as(before), atol=1e-5)
    # Where a pattern has the share s of its energy in red, a mean over red alone is 3 s times that over three colours.
    basis = network.synthesis.klt.patch.weight.flatten(1).reshape(3, -1, len(factor))
    share = (basis[0] ** 2).sum(0) / (basis**2).sum((0, 1))
    seen = share > 0.02  # the sample's noise drowns the others
    factor = fit_steps(network, crops, "mse", "ms-ssim", 5)
    assert seen.sum() > 10
    assert torch.allclose(factor[seen] ** 2, 3 * share[seen], rtol=0.1)


def test_frames_are_alike_mirrored_and_begin_anywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(64 * 80).reshape(1, 1, 64, 80).float()
    corners = set()
    for _ in range(200):
        one, other = framed([place, 2 * place], generator)
        assert one.shape == (1, 1, 112, 128) and torch.equal(other, 2 * one)
        top, left = (int(at) for at in (one[0, 0] == 0).nonzero()[0])
        assert torch.equal(one[..., top : top + 64, left : left + 80], place)
        assert torch.equal(one[..., top - 9, left:-16], one[..., top + 9, left:-16])
        corners.add((top, left))
    assert {top for top, _ in corners} == {left for _, left in corners} == {*range(16, 32)}


def test_the_outermost_pixels_count_as_others_do() -> None:
    image = torch.tensor(picture(256, 256)).permute(2, 0, 1)[None] / 255 - 0.5
    generator, seen = torch.Generator().manual_seed(0), {}
    for at in (0, 128):
        restored = image.clone()
        restored[..., at : at + 2] += 10 / 255 * (-1) ** torch.arange(256)[:, None]
        plain = distortion("ms-ssim", restored, image)
        seen[at] = plain, distortion("ms-ssim", *framed([restored, image], generator))
    assert seen[0][0] < 0.35 * seen[128][0]
    assert seen[0][1] == pytest.approx(float(seen[128][1]), rel=0.5)


def test_training_sees_errors_that_cancel_in_the_cells_of_ms_ssim(crops: Crops) -> None:
    """Seen from the corner, rows 0 and 1 cancel; one pixel further on, rows 1 and 2 do not."""
    network = small_network()
    settings = ImageSettings(width=16, hyper=16, lambdas=tuple(LAMBDAS), distortion="ms-ssim", batch=1)
    loop = ImageLoop(network, crops, [], settings, torch.device("cpu"))
    image = crops.draw(1, torch.Generator().manual_seed(1))
    error = torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(64)[:, None] * 8 / 255
    coded, level = Coded(image + error, torch.zeros(1), torch.zeros(1)), torch.tensor([1.0])
    from_corner = LAMBDAS[1] * distortion("ms-ssim", coded.image, image)
    found = torch.stack([loop.loss(coded, image, level) for _ in range(16)])
    assert found.mean() > 1.4 * from_corner
    assert found.min() > 0.8 * from_corner


@pytest.mark.slow
def test_photos_steps_for_ms_ssim_save_rate_before_any_training() -> None:
    data = os.environ.get("LATENTWIRE_DATA")
    if not data:
        pytest.skip("LATENTWIRE_DATA names no folder that holds bsds500/")
    network = read_network(PHOTO)
    photos = read_photos(Path(data) / "bsds500" / "val")
    held = judged(photos, "ms-ssim", 3)
    before = validate(network, held, "ms-ssim", exact=True)
    factor = fit_steps(network, Crops(photos[1::9], 256, torch.device("cpu")), "mse", "ms-ssim", 1)
    assert factor[:8].min() > 1.1 and factor[-64:].median() < 0.6
    found = rate_difference(before, validate(network, held, "ms-ssim", exact=True))
    assert -0.2 < found < -0.07


@pytest.mark.slow
def test_a_run_for_another_distortion_starts_with_its_steps(tmp_path: Path) -> None:
    for k in range(3):
        Image.fromarray(picture(256, 272, seed=k)).save(tmp_path / f"{k}.png")
    common = (
        "--width 8 --hyper 8 --lambdas 0.005,0.05 --batch 1 --scales 1 --threads 1 --steps 1 --validation-pictures 1"
    )

    def run(name: str, *options: object) -> str:
        arguments = ["image", "--data", tmp_path, "--out", tmp_path / name, *common.split(), *options]
        result = CliRunner().invoke(train_command, [*map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stderr

    said = "steps fitted from mse to ms-ssim"
    assert said not in run("mse")
    assert said not in run("more", "--initial", tmp_path / "mse")
    assert said in run("structure", "--initial", tmp_path / "mse", "--distortion", "ms-ssim")
    assert said in run("scratch", "--distortion", "ms-ssim")
    assert said not in run("on", "--initial", tmp_path / "structure", "--distortion", "ms-ssim")
    alone = tmp_path / "mse" / "checkpoint.safetensors"
    assert said not in run("alone", "--initial", alone, "--distortion", "ms-ssim")
