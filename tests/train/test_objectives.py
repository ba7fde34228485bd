"""Each objective trains on real digits and does what it is for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentwire.train import Split, TrainedRun, dense_recipe, load_run, train
from latentwire.train.dense.objective_settings import OBJECTIVES, DenoisingSettings
from latentwire.train.dense.objectives import Denoising, normal_divergence

SHORT = {"epochs": 25, "batch": 64, "learning_rate": 3e-3, "average": 0.98}
SMALL = {"latent": 16, "hidden": (64,), "decoder_hidden": (64,)}


@pytest.fixture(scope="module")
def runs(halves: Split, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, TrainedRun]]:
    made = {}
    for kind in OBJECTIVES.values():
        folder = tmp_path_factory.mktemp("runs") / kind.name
        train(dense_recipe(item_shape=(8, 8), objective=kind.name, network=SMALL, loop=SHORT), halves, folder)
        made[kind.name] = folder, load_run(folder)
    return made


@pytest.fixture(scope="module")
def held_out(halves: Split) -> torch.Tensor:
    assert halves.validation is not None
    return halves.validation.batch(np.arange(len(halves.validation)))


def variance(items: torch.Tensor) -> float:
    return (items - items.mean(0)).square().mean().item()


@pytest.mark.parametrize("name", [kind.name for kind in OBJECTIVES.values()])
def test_every_objective_reconstructs_and_hands_on_the_same_interface(runs, held_out, name: str) -> None:
    _, run = runs[name]
    latents = run.encoder(held_out)
    output = run.decoder(latents)
    assert latents.shape == (len(held_out), 16) and latents.dtype == output.dtype == torch.float32
    assert (output - held_out).square().mean().item() < 0.5 * variance(held_out)
    assert run.objective == name and run.contract.to_json()["range"] == [0, 16]
    assert not any(parameter.requires_grad for parameter in run.encoder.parameters())
    assert (run.steps is not None) == (name == "rate")
    assert (run.prior == "normal") == (name in ("variational", "adversarial"))


def quantized(run: TrainedRun, items: torch.Tensor, quality: int) -> tuple[torch.Tensor, float]:
    """Symbols, and the error of the reconstruction from them."""
    assert run.steps is not None
    steps = torch.from_numpy(run.steps[quality])
    symbols = torch.round(run.encoder(items) / steps)
    return symbols, (run.decoder(symbols * steps).clamp(0, 1) - items).square().mean().item()


def entropy(symbols: torch.Tensor) -> float:
    """Bits per item of symbols [N, C] under one static table for each channel."""
    total = 0.0
    for column in symbols.T:
        counts = torch.unique(column, return_counts=True)[1].double()
        total -= (counts / counts.sum() * (counts / counts.sum()).log2()).sum().item()
    return total


def test_quality_buys_less_error_for_more_bits(runs, held_out) -> None:
    points = [quantized(runs["rate"][1], held_out, quality) for quality in (0, 64, 128, 192, 255)]
    errors, bits = [error for _, error in points], [entropy(symbols) for symbols, _ in points]
    assert errors == sorted(errors, reverse=True) and bits == sorted(bits)
    assert errors[0] > 2.5 * errors[-1] and bits[-1] > 3 * bits[0]


def test_training_beats_the_principal_components_it_starts_from(halves, held_out, tmp_path: Path, runs) -> None:
    """At an equal rate: the untrained network is the principal components, one learning rate of almost zero away."""
    still = {**SHORT, "epochs": 1, "learning_rate": 1e-9, "average": 0.0}
    train(dense_recipe(item_shape=(8, 8), objective="rate", network=SMALL, loop=still), halves, tmp_path)
    curves = []
    for run in (load_run(tmp_path), runs["rate"][1]):
        points = [quantized(run, held_out, quality) for quality in range(0, 256, 15)]
        curves.append((np.array([entropy(symbols) for symbols, _ in points]), np.log([error for _, error in points])))
    (linear_bits, linear_error), (bits, error) = curves
    for rate in (25, 35, 45):
        assert np.interp(rate, bits, error) < np.interp(rate, linear_bits, linear_error) - 0.1


def test_denoising_removes_noise_that_the_plain_autoencoder_keeps(runs, held_out) -> None:
    objective = Denoising.__new__(Denoising)
    objective.settings = DenoisingSettings()
    noisy = Denoising.corrupted(objective, held_out, torch.Generator().manual_seed(7))

    def error(name: str) -> float:
        run = runs[name][1]
        return (run.decoder(run.encoder(noisy)) - held_out).square().mean().item()

    assert error("denoising") < 0.9 * error("mse")
    assert error("denoising") < (noisy - held_out).square().mean().item()


@pytest.mark.parametrize("name", ["variational", "adversarial"])
def test_codes_follow_the_prior_and_draws_of_it_look_like_digits(runs, held_out, name: str) -> None:
    run = runs[name][1]
    codes = run.encoder(held_out)
    assert codes.mean().abs() < 0.2
    assert 0.3 < codes.square().mean() < 1.6
    drawn = run.decoder(torch.randn(500, 16, generator=torch.Generator().manual_seed(0)))

    def distance(items: torch.Tensor) -> float:
        """Of each item to the nearest real digit, mean."""
        return torch.cdist(items, held_out).min(1).values.mean().item()

    shuffled = torch.stack([column[torch.randperm(len(column))] for column in held_out.T], 1)
    assert distance(drawn) < 0.8 * distance(shuffled)


def test_divergence_of_the_prior_from_itself_is_zero() -> None:
    assert not normal_divergence(torch.zeros(3, 4), torch.zeros(3, 4)).any()
    # KL(N(1, e^2) || N(0, 1)) = (1 + e^2 - 1 - 2) / 2
    value = normal_divergence(torch.ones(1, 1), torch.full((1, 1), 2.0))
    torch.testing.assert_close(value, torch.tensor([(np.exp(2) - 2) / 2]), check_dtype=False)
