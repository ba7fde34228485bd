"""What the family's networks have in common, so that objectives and loop treat all of them alike.

Shapes: input float32 [N, ...] in [0, 1]; latents float32 [N, C, ...], channels second; reconstruction shaped like the
input.
"""

import math
from abc import ABC, abstractmethod

from torch import Generator, Tensor, nn

from latentwire.train.dense.settings import Initialisation


class Analysis(nn.Module, ABC):
    """An encoder network whose last step can be told apart from the features below it.

    The variational objective needs the split: it hangs a second head (the spread of the code) on the same features.
    """

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The last hidden activations for the input [N, ...]."""

    @abstractmethod
    def code(self, x: Tensor, features: Tensor) -> Tensor:
        """Latents [N, C, ...] from the input and its features."""

    @abstractmethod
    def second_head(self) -> nn.Module:
        """A new, uninitialised layer from features to something shaped like the latents."""

    def forward(self, x: Tensor) -> Tensor:
        """Latents [N, C, ...] of the input [N, ...]."""
        return self.code(x, self.features(x))


class Autoencoder(nn.Module, ABC):
    """An encoder and a decoder that are trained together and exported apart."""

    def __init__(self, encoder: Analysis, decoder: nn.Module, bases: tuple[nn.Module, ...] = ()) -> None:
        """Joins two networks; `bases` are their layers that start from the principal components."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self._bases = bases

    @abstractmethod
    def start(self, items: Tensor, generator: Generator) -> None:
        """Gives all weights their first value: from items [N, ...] in [0, 1], or drawn from the generator."""

    def basis_parameters(self) -> list[nn.Parameter]:
        """Parameters of the layers that start from the data's principal components."""
        return [parameter for layer in self._bases for parameter in layer.parameters()]

    def network_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""
        bases = {id(parameter) for parameter in self.basis_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in bases]

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of the input [N, ...], without quantization."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """Latents [N, C, ...] of the input [N, ...]."""
        latents: Tensor = self.encoder(x)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """The reconstruction [N, ...] from latents [N, C, ...]."""
        output: Tensor = self.decoder(latents)
        return output


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose weights are not set yet: `initialise` draws them from the run's generator."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    return layer


def initialise(module: nn.Module, how: Initialisation, generator: Generator) -> None:
    """Draws the weights of every linear and convolutional layer in `module` from `generator`.

    `glorot`: weights uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010, equation 16; Keras's
    default), biases zero. `he`: weights normal with variance 2 / inputs (He et al. 2015), biases zero. `torch`: weights
    and biases uniform within 1 / sqrt(inputs) (nn.Linear's default).
    Layers are drawn here, and not by their constructors, because those use torch's global generator.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            _initialise_layer(layer, how, generator)


def _initialise_layer(layer: nn.Linear | nn.Conv2d, how: Initialisation, generator: Generator) -> None:
    weight, *biases = layer.parameters()
    if how == "glorot":
        nn.init.xavier_uniform_(weight, generator=generator)
    elif how == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    else:
        bound = 1 / math.sqrt(weight[0].numel())
        for values in (weight, *biases):
            nn.init.uniform_(values, -bound, bound, generator=generator)
        return
    for bias in biases:
        nn.init.zeros_(bias)


def zero(layer: nn.Linear | nn.Conv2d) -> None:
    """Sets weights and biases to zero, so that what the layer is added to starts unchanged."""
    for values in layer.parameters():
        nn.init.zeros_(values)
