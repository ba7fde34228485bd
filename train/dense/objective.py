"""The interface of all training objectives.

An objective turns a batch into losses for one or more players, each with its own optimizer: one player for most, two
for the adversarial autoencoder. It knows nothing of the family: latents are [N, C, ...], and squared errors are summed
over an item, as in the project's seed document, L = sum (x_i - x^_i)^2, and reported as the mean per element.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Generator, Tensor, nn

from latentwire.train.dense.autoencoder import Autoencoder

Scores = dict[str, Tensor]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate, relative to the run's."""

    parameters: list[nn.Parameter]
    rate: Literal["network", "basis", "objective"]


@dataclass(frozen=True)
class Player:
    """One optimizer's part in a step.

    Attributes:
        name: of the player, unique in its objective.
        groups: what it moves.
        loss: batch [N, ...] and random generator -> loss to minimise, and scores to show (detached scalars).
    """

    name: str
    groups: list[ParameterGroup]
    loss: Callable[[Tensor, Generator], tuple[Tensor, Scores]]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters that it moves."""
        for group in self.groups:
            yield from group.parameters


class Objective(nn.Module, ABC):
    """What to minimise, together with what it learns beside the autoencoder."""

    def __init__(self, network: Autoencoder, settings: Any, channels: int) -> None:
        """Takes the autoencoder that it will train, which stays the caller's and out of the objective's state.

        `settings` are of its own class in `objective_settings.OBJECTIVES`; `channels` is the number of latents C.
        """
        super().__init__()
        self._network = (network,)  # a tuple keeps it out of this module's own parameters

    @property
    def network(self) -> Autoencoder:
        """The autoencoder under training."""
        return self._network[0]

    @abstractmethod
    def start(self, sample: Tensor, generator: Generator) -> None:
        """Gives everything the objective learns its first value: from items [N, ...] in [0, 1], or drawn."""

    @abstractmethod
    def players(self) -> list[Player]:
        """The players, in the order of their moves within a step."""

    def steps(self) -> Tensor | None:
        """Quantization steps [256, C] of every quality, or None where the objective has no rate."""
        return None

    def measure(self, batch: Tensor) -> Scores:
        """Sums over the items [N, ...] of what validation shows; free of noise. `mse` is per element."""
        return {"mse": squared_error(self.network(batch), batch).sum() / batch[0].numel()}

    def network_groups(self) -> list[ParameterGroup]:
        """The autoencoder's parameters, those that start from principal components apart."""
        groups = [ParameterGroup(self.network.network_parameters(), "network")]
        basis = self.network.basis_parameters()
        return [*groups, ParameterGroup(basis, "basis")] if basis else groups


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Sum over each item of (x_i - x^_i)^2, [N]."""
    return (output - target).square().flatten(1).sum(1)


def per_element(error: Tensor, batch: Tensor) -> Tensor:
    """A squared error per item as the mean per element, detached."""
    return error.detach() / batch[0].numel()
