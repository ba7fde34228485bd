"""The probability model and the step sizes of the rate objective."""

import math

import numpy as np
import pytest
import torch

from latentwire.train.dense.objective_settings import RateSettings
from latentwire.train.dense.prior import (
    FactorizedPrior,
    StepSizes,
    quality_positions,
    round_straight_through,
    steps_for_tradeoff,
)
from latentwire.train.dense.rate import level_of_water, tradeoff_range
from latentwire.train.errors import SettingsError


def prior(latents: torch.Tensor, components: int = 4) -> FactorizedPrior:
    made = FactorizedPrior(latents.shape[1], components)
    made.start_from(latents)
    return made


@pytest.mark.parametrize("step", [0.01, 0.3, 5.0])
def test_bins_of_any_width_share_the_probability_one(step: float) -> None:
    made = prior(torch.randn(500, 3) * torch.tensor([0.1, 1.0, 4.0]))
    bins = torch.arange(-round(60 / step), round(60 / step) + 1)[:, None] * step
    bits = made.bits(bins.expand(-1, 3), torch.full((len(bins), 3), step))
    torch.testing.assert_close((2 ** -bits.double()).sum(0), torch.ones(3, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_start_is_near_the_entropy_of_the_data() -> None:
    latents = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)) * 2
    step = torch.full((20_000, 1), 0.5)
    bits = prior(latents).bits(torch.round(latents / 0.5) * 0.5, step).mean().item()
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 4) - math.log2(0.5)
    assert entropy - 0.01 < bits < entropy + 0.1


def test_far_out_the_cost_grows_and_keeps_its_gradient_to_a_limit() -> None:
    made = prior(torch.randn(100, 1))
    far = torch.tensor([[5.0], [12.0], [-12.0], [1000.0]], requires_grad=True)
    bits = made.bits(far, torch.ones(4, 1))
    bits.sum().backward()
    assert 5 < bits[0, 0] < bits[1, 0] < bits[3, 0] < 100
    assert far.grad is not None and far.grad[1] > 0 > far.grad[2]


def test_a_dead_channel_has_a_finite_prior() -> None:
    latents = torch.cat([torch.randn(50, 1), torch.zeros(50, 1)], 1)
    bits = prior(latents).bits(latents, torch.full((50, 2), 0.1))
    assert torch.isfinite(bits).all() and (bits[:, 1] < 0.1).all()


def test_steps_are_log_linear_between_knots() -> None:
    steps = StepSizes(2, 3)
    steps.start_from(torch.tensor([4.0, 1.0, 0.25]).log())
    made = steps(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(made, torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25])[:, None].expand(-1, 2))
    table = steps.table()
    assert table.shape == (256, 2) and (table.diff(dim=0) < 0).all()
    assert quality_positions()[[0, 255]].tolist() == [0, 1]


def test_rounding_passes_the_gradient_and_tells_the_step_its_error() -> None:
    latents = torch.tensor([[0.9, -2.2]], requires_grad=True)
    steps = torch.tensor([[0.5, 1.0]], requires_grad=True)
    rounded = round_straight_through(latents, steps)
    rounded.sum().backward()
    torch.testing.assert_close(rounded.detach(), torch.tensor([[1.0, -2.0]]))
    torch.testing.assert_close(latents.grad, torch.ones(1, 2))
    torch.testing.assert_close(steps.grad, torch.tensor([[2 - 0.9 / 0.5, -2 + 2.2]]))


def test_the_step_of_a_tradeoff_minimises_bits_plus_weighted_error() -> None:
    tradeoff = 50.0
    latents = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    made = prior(latents, components=8)

    def loss(step: float) -> float:
        rounded = torch.round(latents / step) * step
        bits = made.bits(rounded, torch.full_like(latents, step)).mean()
        return (bits + tradeoff * (rounded - latents).square().mean()).item()

    steps = np.geomspace(0.2, 0.8, 21)
    best = steps[np.argmin([loss(step) for step in steps])]
    assert best == pytest.approx(steps_for_tradeoff(torch.tensor(tradeoff)).item(), rel=0.12)


@pytest.mark.parametrize("lost", [0.01, 0.3, 0.9])
def test_water_covers_the_fraction_that_is_lost(lost: float) -> None:
    variances = torch.tensor([8.0, 4.0, 1.0, 0.5, 0.0])
    level = level_of_water(variances, lost)
    assert variances.clamp_max(level).sum().item() == pytest.approx(lost * 13.5, rel=1e-4)


def test_the_tradeoff_range_does_not_depend_on_which_gram_matrix_is_smaller() -> None:
    items = torch.rand(40, 60, generator=torch.Generator().manual_seed(0))
    wide = tradeoff_range(items, (0.6, 0.01))
    padded = tradeoff_range(torch.cat([items, items]), (0.6, 0.01))
    assert wide == pytest.approx(padded, rel=1e-3)
    assert wide[0] < wide[1]


def test_items_that_are_all_alike_are_refused() -> None:
    with pytest.raises(SettingsError, match="all alike"):
        tradeoff_range(torch.full((10, 4), 0.5), (0.6, 0.01))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tradeoff": (10.0, 1.0)}, "quality must rise"),
        ({"tradeoff": (0.0, 1.0)}, "lambda_at_lowest must be above 0"),
        ({"loses": (0.1, 0.2)}, "quality must rise"),
        ({"knots": 1}, "knots must be at least 2"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RateSettings(**settings)
