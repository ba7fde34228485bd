"""Networks of the family `dense`: vectors [N, D] in [0, 1] -> latents [N, C] -> vectors [N, D].

Two kinds. `plain` is the textbook autoencoder, of which the presets `keras` and `torch` are the project's two seed
programs:

    keras   D-256-128-64-32, ReLU after every encoder layer (the code too), 32-64-128-256-D, sigmoid
    torch   D-256-32, linear code, 32-256-D, sigmoid

`residual` starts as the best linear codec there is, the data's principal components, and learns what is nonlinear on
top:

    latents = klt(x) + net(x)            klt from the components about the mean, net's last layer zero
    output  = klt'(latents) + net'(latents / scale)        klt' the transpose, net's last layer zero

It has no sigmoid: a sigmoid would spoil the linear start, and the exported graph clips to the range anyway.

Inputs are in [0, 1] for all of them. The seed's PyTorch program scales its input to [-1, 1] (`Normalize((0.5,),
(0.5,))`) although its decoder ends in a sigmoid, which cannot go below 0: the background, -1, is out of reach, and the
measured test MSE on MNIST is 0.93. With inputs in [0, 1] the same network and settings reach 0.0064.
"""

import math
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from latentwire.train.dense.autoencoder import Analysis, Autoencoder, initialise, linear, zero
from latentwire.train.dense.convolutions import PictureDecoder
from latentwire.train.dense.settings import Activation, DenseSettings
from latentwire.train.errors import SettingsError

KERAS = DenseSettings("plain", (256, 128, 64), 32, (64, 128, 256), "relu", "relu", "sigmoid", "glorot", "glorot")
TORCH = DenseSettings("plain", (256,), 32, (256,), "relu", "linear", "sigmoid", "torch")
CODEC_LATENTS = 96
# The smallest picture side at which convolutions at a quarter of the size have something to share.
SMALLEST_PICTURE = 16


def codec_network(item_shape: tuple[int, ...]) -> DenseSettings:
    """The network of the preset `codec` for items of a shape: a light encoder, and a decoder that fits the items.

    As many latents as there are components, at most 96 (on MNIST 48 leave an error of 0.0065 at any rate); convolutions
    for pictures. In trials on MNIST with a prototype, two minutes each, ideal bits of a digit at the squared error
    0.0064 were 153 with wide layers in the decoder and 124 with convolutions (and smaller batches), 169 with the
    decoder's first layers drawn as `he`. How the encoder's are drawn is undecided: the trials differed in steps.
    """
    latent = min(CODEC_LATENTS, math.prod(item_shape))
    if len(item_shape) in (2, 3) and min(item_shape[:2]) >= SMALLEST_PICTURE:
        return DenseSettings("residual", (512, 256), latent, (256,), initialisation="he", decoder="pictures")
    return DenseSettings("residual", (512, 256), latent, (256, 512), initialisation="he")


class DenseAutoencoder(Autoencoder):
    """A dense autoencoder of either kind, for items of one shape."""

    def __init__(self, settings: DenseSettings, item_shape: tuple[int, ...]) -> None:
        """Makes the layers; `start` or a checkpoint fills them.

        Items come as vectors; `item_shape`, the shape that they had before, matters to a decoder of pictures alone.
        """
        width = math.prod(item_shape)
        if settings.network == "plain":
            super().__init__(_PlainEncoder(settings, width), _PlainDecoder(settings, width))
        else:
            encoder, decoder = _ResidualEncoder(settings, width), _ResidualDecoder(settings, item_shape)
            super().__init__(encoder, decoder, bases=(encoder.klt, decoder.klt))
        self.settings = settings

    def start(self, items: Tensor, generator: Generator) -> None:
        """Draws all weights; those of a residual network's linear path come from `items`, float32 [N, D] in [0, 1].

        Raises SettingsError where a residual network is asked for more latents than the items have components.
        """
        initialise(self.encoder, self.settings.initialisation, generator)
        initialise(self.decoder, self.settings.decoder_initialisation, generator)
        if isinstance(self.encoder, _ResidualEncoder) and isinstance(self.decoder, _ResidualDecoder):
            mean, basis, deviation = principal_components(items, self.settings.latent)
            self.encoder.start_from(mean, basis, (items - mean).square().mean().sqrt())
            self.decoder.start_from(mean, basis, deviation)


def principal_components(items: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [D], the `count` strongest principal components [count, D] and their standard deviations [count].

    Components are orthonormal rows. Raises SettingsError where the items have fewer than `count` of them.
    """
    if count > min(items.shape):
        raise SettingsError(
            f"{count} latents from principal components need as many items and dimensions, found items of shape "
            f"{list(items.shape)}: choose a smaller --latent or --network plain"
        )
    mean = items.mean(0, dtype=torch.float64)
    centred = items.double() - mean
    energy, vectors = torch.linalg.eigh(centred.T @ centred / len(items))
    strongest = torch.arange(len(energy) - 1, len(energy) - 1 - count, -1)
    deviation = energy[strongest].clamp_min(0).sqrt()
    return mean.float(), vectors[:, strongest].T.contiguous().float(), deviation.float()


class _PlainEncoder(Analysis):
    def __init__(self, settings: DenseSettings, width: int) -> None:
        super().__init__()
        self.body = _hidden_layers(width, settings.hidden, settings.activation)
        self.head = linear((width, *settings.hidden)[-1], settings.latent)
        self.rectify = settings.code_activation == "relu"

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features

    def code(self, x: Tensor, features: Tensor) -> Tensor:
        code: Tensor = self.head(features)
        return torch.relu(code) if self.rectify else code

    def second_head(self) -> nn.Module:
        return linear(self.head.in_features, self.head.out_features)


class _ResidualEncoder(Analysis):
    def __init__(self, settings: DenseSettings, width: int) -> None:
        super().__init__()
        self.klt = linear(width, settings.latent)
        self.body = _hidden_layers(width, settings.hidden, settings.activation)
        self.head = linear((width, *settings.hidden)[-1], settings.latent)

    def start_from(self, mean: Tensor, basis: Tensor, deviation: Tensor) -> None:
        _fill(self.klt, basis, -basis @ mean)
        zero(self.head)
        # Weights are drawn for inputs of mean 0 and variance 1: what makes the items so goes into the first layer.
        first = next((layer for layer in self.body if isinstance(layer, nn.Linear)), self.head)
        weight = first.weight.detach() / deviation.clamp_min(1e-6)
        _fill(first, weight, first.bias.detach() - weight @ mean)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features

    def code(self, x: Tensor, features: Tensor) -> Tensor:
        code: Tensor = self.klt(x) + self.head(features)
        return code

    def second_head(self) -> nn.Module:
        return linear(self.head.in_features, self.head.out_features)


class _ResidualDecoder(nn.Module):
    scale: Tensor

    def __init__(self, settings: DenseSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.klt = linear(settings.latent, math.prod(item_shape))
        self.net = _residual_net(settings, item_shape)
        self.register_buffer("scale", torch.ones(settings.latent))

    def start_from(self, mean: Tensor, basis: Tensor, deviation: Tensor) -> None:
        _fill(self.klt, basis.T, mean)
        zero(self.net.head)
        # Brings the strong channels near 1 without amplifying the noise of the weak ones.
        variance = deviation.square()
        self.scale.copy_((variance + 0.2 * variance.mean()).sqrt().clamp_min(1e-6))

    def forward(self, latents: Tensor) -> Tensor:
        output: Tensor = self.klt(latents) + self.net(latents / self.scale)
        return output


class _Layers(nn.Module):
    """Hidden layers and a linear head: latents [N, C] -> vectors [N, D]."""

    def __init__(self, settings: DenseSettings, width: int) -> None:
        super().__init__()
        self.body = _hidden_layers(settings.latent, settings.decoder_hidden, settings.activation)
        self.head = linear((settings.latent, *settings.decoder_hidden)[-1], width)

    def forward(self, latents: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(latents))
        return output


class _PlainDecoder(_Layers):
    def __init__(self, settings: DenseSettings, width: int) -> None:
        super().__init__(settings, width)
        self.squash = settings.output_activation == "sigmoid"

    def forward(self, latents: Tensor) -> Tensor:
        output = super().forward(latents)
        return torch.sigmoid(output) if self.squash else output


def _residual_net(settings: DenseSettings, item_shape: tuple[int, ...]) -> _Layers | PictureDecoder:
    if settings.decoder == "layers":
        return _Layers(settings, math.prod(item_shape))
    return PictureDecoder(settings.latent, settings.decoder_hidden, settings.maps, settings.blocks, item_shape)


@torch.no_grad()
def _fill(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _hidden_layers(inputs: int, widths: tuple[int, ...], activation: Activation) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *widths)):
        layers += [linear(before, after), _activation(activation)]
    return nn.Sequential(*layers)


def _activation(name: Activation) -> nn.Module:
    modules: dict[Activation, type[nn.Module]] = {
        "relu": nn.ReLU,
        "leaky-relu": nn.LeakyReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
    }
    return modules[name]()
