"""The rate objective: bits + tradeoff * squared error, for every quality in one model.

Each item of a batch gets its own quality, drawn uniformly. Its step sizes come from the quality, its bits from the
prior with uniform noise in place of rounding (Balle et al. 2017), and its reconstruction from truly rounded latents
with straight-through gradients. The tradeoff (lambda) runs log-linearly from the lowest quality to the highest.
"""

import math

import torch
from torch import Generator, Tensor

from latentwire.train.dense.autoencoder import Autoencoder
from latentwire.train.dense.objective import Objective, ParameterGroup, Player, Scores, per_element, squared_error
from latentwire.train.dense.objective_settings import RateSettings
from latentwire.train.dense.prior import (
    FactorizedPrior,
    StepSizes,
    per_channel,
    round_straight_through,
    steps_for_tradeoff,
)
from latentwire.train.errors import SettingsError

# Qualities at which validation measures rate and distortion.
MEASURED = (32, 128, 224)
FOCUS_WIDTH = 0.12


class Rate(Objective):
    """Bits + lambda * sum (x_i - x^_i)^2 over the whole range of qualities."""

    log_tradeoff: Tensor

    def __init__(self, network: Autoencoder, settings: RateSettings, channels: int) -> None:
        """Takes the autoencoder, the settings and the number of its latents' channels."""
        super().__init__(network, settings, channels)
        self.settings = settings
        self.prior_model = FactorizedPrior(channels, settings.components)
        self.step_sizes = StepSizes(channels, settings.knots)
        self.register_buffer("log_tradeoff", torch.zeros(2))

    @torch.no_grad()
    def start(self, sample: Tensor, generator: Generator) -> None:
        """Shapes the prior to the sample's latents, and the steps to the tradeoff."""
        self.prior_model.start_from(self.network.encode(sample))
        tradeoff = self.settings.tradeoff or tradeoff_range(sample, self.settings.loses)
        self.log_tradeoff.copy_(torch.tensor(tradeoff).log())
        knots = self.tradeoff(torch.linspace(0, 1, self.settings.knots))
        self.step_sizes.start_from(steps_for_tradeoff(knots).log())

    def players(self) -> list[Player]:
        """One player: the autoencoder with prior and steps."""
        groups = [*self.network_groups(), ParameterGroup(list(self.parameters()), "objective")]
        return [Player("autoencoder", groups, self._loss)]

    def tradeoff(self, position: Tensor) -> Tensor:
        """Lambda at positions in [0, 1] on the quality scale."""
        low, high = self.log_tradeoff
        return torch.exp(low + (high - low) * position)

    def steps(self) -> Tensor:
        """Quantization steps [256, C] of every quality, in units of the latents."""
        return self.step_sizes.table()

    def measure(self, batch: Tensor) -> Scores:
        """Bits and squared error per element at three qualities, with real rounding and an ideal entropy coder."""
        latents = self.network.encode(batch)
        scores: Scores = {}
        table = self.steps()
        for quality in MEASURED:
            steps = table[quality].expand(len(batch), -1)
            width = per_channel(steps, latents)
            rounded = torch.round(latents / width) * width
            error = squared_error(self.network.decode(rounded).clamp(0, 1), batch)
            scores[f"bits_{quality}"] = self.prior_model.bits(rounded, steps).sum()
            scores[f"mse_{quality}"] = error.sum() / batch[0].numel()
        return scores

    def _positions(self, count: int, generator: Generator) -> Tensor:
        """A place on the quality scale for each item, [count] in [0, 1]."""
        anywhere, focused = torch.rand(2, count, generator=generator)
        normal = torch.randn(count, generator=generator)
        near = (self.settings.focus_at + FOCUS_WIDTH * normal).clamp(0, 1)
        return torch.where(focused < self.settings.focus, near, anywhere)

    def _loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        position = self._positions(len(batch), generator)
        tradeoff = self.tradeoff(position)
        steps = self.step_sizes(position)
        latents = self.network.encode(batch)
        noise = torch.rand(latents.shape, generator=generator) - 0.5
        bits = self.prior_model.bits(latents + noise * per_channel(steps, latents), steps).flatten(1).sum(1)
        error = squared_error(self.network.decode(round_straight_through(latents, steps)), batch)
        weight = (tradeoff / self.tradeoff(torch.tensor(0.5))) ** -self.settings.balance
        loss = (weight * (bits + tradeoff * error)).mean()
        return loss, {"bits": bits.mean().detach(), "mse": per_element(error.mean(), batch)}


def tradeoff_range(sample: Tensor, loses: tuple[float, float]) -> tuple[float, float]:
    """Lambda at the lowest and the highest quality for items [N, ...] that may lose these fractions of their variance.

    At the water level w every coded component has the distortion w = step^2 / 12, so lambda = 1 / (2 ln(2) w).
    Raises SettingsError for items that are all alike.
    """
    vectors = sample.flatten(1).double()
    centred = vectors - vectors.mean(0)
    # The smaller of the two Gram matrices has the same eigenvalues but for zeros.
    gram = centred.T @ centred if vectors.shape[0] > vectors.shape[1] else centred @ centred.T
    variances = torch.linalg.eigvalsh(gram / len(vectors)).clamp_min(0)
    if float(variances.max()) <= 1e-12:
        raise SettingsError("the items are all alike: there is nothing to learn; look at the data and its --range")
    low, high = (1 / (2 * math.log(2) * level_of_water(variances, lost)) for lost in loses)
    return low, high


def level_of_water(variances: Tensor, lost: float) -> float:
    """The water level at which independent Gaussians of `variances` lose the fraction `lost` of their variance.

    Reverse water-filling (Cover and Thomas, section 10.3.3): channel c keeps the distortion min(level, variance_c).
    """
    low, high = 0.0, float(variances.max())
    for _ in range(100):
        level = (low + high) / 2
        below = float(variances.clamp_max(level).sum()) < lost * float(variances.sum())
        low, high = (level, high) if below else (low, level)
    return math.sqrt(low * high) if low > 0 else high
