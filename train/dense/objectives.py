"""Four of the five objectives, and the one place that knows all of them; `rate` has a file of its own.

Every objective leaves behind an encoder and a decoder; `rate` also leaves the quantization steps of each quality. The
prior that generated codes can be drawn from is `normal` for `variational` and `adversarial`, absent for the others.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentwire.train.dense.autoencoder import Autoencoder, initialise, linear
from latentwire.train.dense.objective import (
    Objective,
    ObjectiveName,
    ParameterGroup,
    Player,
    Scores,
    per_element,
    squared_error,
)
from latentwire.train.dense.rate import Rate, RateSettings
from latentwire.train.settings import require_above_zero, require_at_least, require_choice, require_widths


@dataclass(frozen=True)
class SquaredErrorSettings:
    """The squared error has nothing to set."""

    name: ClassVar[ObjectiveName] = "mse"


class SquaredError(Objective):
    """Nothing but the squared error: L = sum (x_i - x^_i)^2."""

    name = "mse"

    def start(self, sample: Tensor, generator: Generator) -> None:
        """Nothing to do: it learns nothing beside the autoencoder."""

    def players(self) -> list[Player]:
        """One player, the autoencoder."""
        return [Player("autoencoder", self.network_groups(), self._loss)]

    def _loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        error = squared_error(self.network(batch), batch).mean()
        return error, {"mse": per_element(error, batch)}


@dataclass(frozen=True)
class DenoisingSettings:
    """`noise`: standard deviation of the Gaussian noise that the input gets, on the scale where items lie in [0, 1]."""

    name: ClassVar[ObjectiveName] = "denoising"
    noise: float = 0.3

    def __post_init__(self) -> None:
        """Refuses noise that is none."""
        require_above_zero(noise=self.noise)


class Denoising(Objective):
    """The clean item from a noisy one (Vincent et al. 2008); the noisy input stays in [0, 1], as a sensor's would."""

    name = "denoising"

    def __init__(self, network: Autoencoder, settings: DenoisingSettings) -> None:
        """Takes the autoencoder and the amount of noise."""
        super().__init__(network)
        self.settings = settings

    def start(self, sample: Tensor, generator: Generator) -> None:
        """Nothing to do: it learns nothing beside the autoencoder."""

    def players(self) -> list[Player]:
        """One player, the autoencoder."""
        return [Player("autoencoder", self.network_groups(), self._loss)]

    def measure(self, batch: Tensor) -> Scores:
        """`mse` from clean input and `denoised_mse` from noisy input, the same noise at each call."""
        noisy = self.corrupted(batch, torch.Generator().manual_seed(0))
        denoised = squared_error(self.network(noisy), batch).sum() / batch[0].numel()
        return {**super().measure(batch), "denoised_mse": denoised}

    def corrupted(self, batch: Tensor, generator: Generator) -> Tensor:
        """The batch with noise, clipped to [0, 1]."""
        return (batch + self.settings.noise * torch.randn(batch.shape, generator=generator)).clamp(0, 1)

    def _loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        error = squared_error(self.network(self.corrupted(batch, generator)), batch).mean()
        return error, {"denoised_mse": per_element(error, batch)}


@dataclass(frozen=True)
class VariationalSettings:
    """`beta`: weight of the divergence from the prior (Higgins et al. 2017); 1 is the evidence lower bound."""

    name: ClassVar[ObjectiveName] = "variational"
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Refuses a negative weight."""
        require_at_least(0, beta=self.beta)


class Variational(Objective):
    """A beta-VAE with the prior N(0, I) and a Gaussian output whose one variance is fitted to each batch.

    Loss per item: d / 2 * ln(mean squared error) + beta * KL. The first term is the Gaussian likelihood at its best
    variance, up to a constant (Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders"): no
    weight between the two terms needs to be tuned to the data's dimension or range. The encoder's output is the code's
    mean; its spread is a second head that is used only in training.
    """

    name = "variational"
    prior = "normal"

    def __init__(self, network: Autoencoder, settings: VariationalSettings) -> None:
        """Takes the autoencoder and the weight."""
        super().__init__(network)
        self.settings = settings
        self.log_variance = network.encoder.second_head()

    def start(self, sample: Tensor, generator: Generator) -> None:
        """Draws the weights of the second head."""
        initialise(self.log_variance, "torch", generator)

    def players(self) -> list[Player]:
        """One player: the autoencoder with the second head."""
        groups = [*self.network_groups(), ParameterGroup(list(self.parameters()), "objective")]
        return [Player("autoencoder", groups, self._loss)]

    def measure(self, batch: Tensor) -> Scores:
        """`mse` of the mean code's reconstruction, and the divergence in nats."""
        mean, log_variance = self._posterior(batch)
        return {**super().measure(batch), "divergence": normal_divergence(mean, log_variance).sum()}

    def _posterior(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.encoder.features(batch)
        mean = self.network.encoder.code(batch, features)
        # exp(-20) is a spread of 5e-5 and exp(6) one of 20: beyond either the head has lost its way.
        return mean, self.log_variance(features).clamp(-20, 6)

    def _loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        mean, log_variance = self._posterior(batch)
        noise = torch.randn(mean.shape, generator=generator)
        error = squared_error(self.network.decode(mean + noise * torch.exp(log_variance / 2)), batch).mean()
        divergence = normal_divergence(mean, log_variance).mean()
        mse = error / batch[0].numel()
        likelihood = batch[0].numel() / 2 * torch.log(mse.clamp_min(1e-8))
        return likelihood + self.settings.beta * divergence, {"mse": mse.detach(), "divergence": divergence.detach()}


@dataclass(frozen=True)
class AdversarialSettings:
    """The discriminator and its weight.

    Attributes:
        critic_hidden: widths of the discriminator's hidden layers.
        pull: weight of the loss that pulls codes towards the prior, against the squared error relative to the batch's
            variance.
        penalty: weight of the discriminator's squared slope at draws of the prior (Mescheder et al. 2018, "R1").
            Without it the discriminator becomes so steep that the encoder gives up and maps all items to one code.
    """

    name: ClassVar[ObjectiveName] = "adversarial"
    critic_hidden: tuple[int, ...] = (256, 256)
    pull: float = 0.1
    penalty: float = 1.0

    def __post_init__(self) -> None:
        """Refuses widths below one, a pull of zero and a negative penalty."""
        require_widths(critic_hidden=self.critic_hidden)
        require_above_zero(pull=self.pull)
        require_at_least(0, penalty=self.penalty)


class Adversarial(Objective):
    """An adversarial autoencoder (Makhzani et al. 2015): a discriminator tells codes from draws of N(0, I).

    Two moves a step: the discriminator learns to tell them apart, then encoder and decoder reconstruct while the
    encoder learns to be taken for the prior. Both of the autoencoder's losses are one move, so that Adam weighs them
    against each other.
    """

    name = "adversarial"
    prior = "normal"

    def __init__(self, network: Autoencoder, settings: AdversarialSettings, channels: int) -> None:
        """Takes the autoencoder, the settings and the number of the code's channels."""
        super().__init__(network)
        self.settings = settings
        self.critic = _critic(channels, settings.critic_hidden)

    def start(self, sample: Tensor, generator: Generator) -> None:
        """Draws the discriminator's weights."""
        initialise(self.critic, "torch", generator)

    def players(self) -> list[Player]:
        """The discriminator, then the autoencoder."""
        critic = [ParameterGroup(list(self.critic.parameters()), "objective")]
        return [
            Player("critic", critic, self._critic_loss),
            Player("autoencoder", self.network_groups(), self._autoencoder_loss),
        ]

    def measure(self, batch: Tensor) -> Scores:
        """`mse`, and the first two moments of the codes, which N(0, I) has at 0 and 1."""
        codes = self.network.encode(batch).flatten(1)
        moments = {"code_mean": codes.mean(1).sum(), "code_power": codes.square().mean(1).sum()}
        return {**super().measure(batch), **moments}

    def _critic_loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        with torch.no_grad():
            codes = code_vectors(self.network.encode(batch))
        drawn = torch.randn(codes.shape, generator=generator).requires_grad_()
        real = self.critic(drawn)
        # softplus(-s) and softplus(s) are the cross-entropies of the logit s for "prior" and "encoder".
        loss = (F.softplus(-real) + F.softplus(self.critic(codes))).mean()
        (slope,) = torch.autograd.grad(real.sum(), drawn, create_graph=True)
        return loss + self.settings.penalty / 2 * slope.square().sum(1).mean(), {"critic": loss.detach()}

    def _autoencoder_loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        codes = self.network.encode(batch)
        error = squared_error(self.network.decode(codes), batch).mean()
        variance = squared_error(batch, batch.mean(0, keepdim=True)).mean().clamp_min(1e-8)
        fooling = F.softplus(-self.critic(code_vectors(codes))).mean()
        return error / variance + self.settings.pull * fooling, {
            "mse": per_element(error, batch),
            "fooling": fooling.detach(),
        }


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) of each item in nats, [N] (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


def code_vectors(latents: Tensor) -> Tensor:
    """Latents [N, C, ...] as vectors [N * ..., C]: one per position."""
    return latents.flatten(2).transpose(1, 2).flatten(0, 1) if latents.dim() > 2 else latents


def _critic(channels: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = channels
    for units in hidden:
        layers += [linear(width, units), nn.LeakyReLU(0.2)]
        width = units
    return nn.Sequential(*layers, linear(width, 1))


ObjectiveSettings = SquaredErrorSettings | RateSettings | DenoisingSettings | VariationalSettings | AdversarialSettings
SETTINGS: tuple[type[ObjectiveSettings], ...] = (
    SquaredErrorSettings,
    RateSettings,
    DenoisingSettings,
    VariationalSettings,
    AdversarialSettings,
)


def settings_class(name: str) -> type[ObjectiveSettings]:
    """The class of the settings of the objective `name`; raises SettingsError for a name that there is not."""
    require_choice(ObjectiveName, objective=name)
    return next(kind for kind in SETTINGS if kind.name == name)


def create(settings: ObjectiveSettings, network: Autoencoder, channels: int) -> Objective:
    """The objective that the settings are for, still to be started; `channels` is the number of latents C."""
    match settings:
        case RateSettings():
            return Rate(network, settings, channels)
        case DenoisingSettings():
            return Denoising(network, settings)
        case VariationalSettings():
            return Variational(network, settings)
        case AdversarialSettings():
            return Adversarial(network, settings, channels)
        case SquaredErrorSettings():
            return SquaredError(network)
