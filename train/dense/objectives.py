"""Four of the five objectives, and the one place that knows all of them; `rate` has a file of its own.

Every objective leaves behind an encoder and a decoder; `rate` also leaves the quantization steps of each quality. The
prior that generated codes can be drawn from is `normal` for `variational` and `adversarial`, absent for the others.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from latentwire.train.dense.autoencoder import Autoencoder, initialise, linear
from latentwire.train.dense.objective import Objective, ParameterGroup, Player, Scores, per_element, squared_error
from latentwire.train.dense.objective_settings import (
    AdversarialSettings,
    DenoisingSettings,
    ObjectiveSettings,
    RateSettings,
    SquaredErrorSettings,
    VariationalSettings,
)
from latentwire.train.dense.rate import Rate


class SquaredError(Objective):
    """Nothing but the squared error: L = sum (x_i - x^_i)^2."""

    def start(self, sample: Tensor, generator: Generator) -> None:
        """Nothing to do: it learns nothing beside the autoencoder."""

    def players(self) -> list[Player]:
        """One player, the autoencoder."""
        return [Player("autoencoder", self.network_groups(), self._loss)]

    def _loss(self, batch: Tensor, generator: Generator) -> tuple[Tensor, Scores]:
        error = squared_error(self.network(batch), batch).mean()
        return error, {"mse": per_element(error, batch)}


class Denoising(Objective):
    """The clean item from a noisy one (Vincent et al. 2008); the noisy input stays in [0, 1], as a sensor's would."""

    def __init__(self, network: Autoencoder, settings: DenoisingSettings, channels: int) -> None:
        """Takes the autoencoder and the amount of noise."""
        super().__init__(network, settings, channels)
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


class Variational(Objective):
    """A beta-VAE with the prior N(0, I) and a Gaussian output whose one variance is fitted to each batch.

    Loss per item: d / 2 * ln(mean squared error) + beta * KL. The first term is the Gaussian likelihood at its best
    variance, up to a constant (Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders"): no
    weight between the two terms needs to be tuned to the data's dimension or range. The encoder's output is the code's
    mean; its spread is a second head that is used only in training.
    """

    def __init__(self, network: Autoencoder, settings: VariationalSettings, channels: int) -> None:
        """Takes the autoencoder and the weight."""
        super().__init__(network, settings, channels)
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


class Adversarial(Objective):
    """An adversarial autoencoder (Makhzani et al. 2015): a discriminator tells codes from draws of N(0, I).

    Two moves a step: the discriminator learns to tell them apart, then encoder and decoder reconstruct while the
    encoder learns to be taken for the prior. Both of the autoencoder's losses are one move, so that Adam weighs them
    against each other.
    """

    def __init__(self, network: Autoencoder, settings: AdversarialSettings, channels: int) -> None:
        """Takes the autoencoder, the settings and the number of the code's channels."""
        super().__init__(network, settings, channels)
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


CLASSES: Mapping[type[ObjectiveSettings], type[Objective]] = MappingProxyType(
    {
        SquaredErrorSettings: SquaredError,
        RateSettings: Rate,
        DenoisingSettings: Denoising,
        VariationalSettings: Variational,
        AdversarialSettings: Adversarial,
    }
)
"""Objectives by what they are told."""


def create(settings: ObjectiveSettings, network: Autoencoder, channels: int) -> Objective:
    """The objective that the settings are for, still to be started; `channels` is the number of latents C."""
    return CLASSES[type(settings)](network, settings, channels)
