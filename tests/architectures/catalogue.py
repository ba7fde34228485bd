"""All architectures, each with its items, how it is trained, and what its user writes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from architectures import compression, images, sequences
from architectures.data import both_signs, colours, digits, large_digits, signals, unit

STEPS, BATCH = 100, 32

Scale = Callable[[np.ndarray], np.ndarray]


def whole(model: Any) -> Any:
    """The model itself is given."""
    return model


@dataclass(frozen=True)
class Case:
    """A trained autoencoder with everything that its user has at hand."""

    model: Any
    """What is given to `export_codec`."""
    items: np.ndarray
    """[N, ...], as a device has them."""
    networks: Callable[[np.ndarray], np.ndarray]
    """Items -> items through the networks alone, in the user's own way: float64, in the items' units."""


@dataclass(frozen=True)
class Architecture:
    """One kind of autoencoder."""

    name: str
    what: str
    build: Callable[[], Any]
    items: Callable[[], np.ndarray]
    scale: Scale = unit
    unscale: Scale = lambda values: values * 255.0
    options: dict[str, Any] = field(default_factory=dict)
    """What its user tells `export_codec` beside model, data and folder."""
    given: Callable[[Any], Any] = whole
    """What of the model is given to `export_codec`: the model, or a pair."""

    steps: int = STEPS
    """Of training."""

    @property
    def code(self) -> str:
        """What its user writes."""
        model = "model" if self.given is whole else "(encoder, decoder)"
        told = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"export_codec({model}, items, out{told})"

    def case(self) -> Case:
        """The trained model and its items."""
        items = self.items()
        torch.manual_seed(0)
        model = self.build()
        train(model, torch.from_numpy(self.scale(items)), self.steps)
        model.eval()

        def networks(values: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                output = model(torch.from_numpy(self.scale(values))).numpy().astype(np.float64)
            restored = self.unscale(output)
            return restored if values.dtype == np.float32 else np.clip(np.rint(restored), 0, 255)

        return Case(self.given(model), items, networks)


def train(model: nn.Module, items: Tensor, steps: int) -> None:
    """A second of Adam on the squared error."""
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    order = torch.Generator().manual_seed(1)
    model.train()
    for _ in range(steps):
        batch = items[torch.randint(len(items), (BATCH,), generator=order)]
        loss = torch.nn.functional.mse_loss(model(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Tied(nn.Module):
    """Holds the weights of `images.tied_functions` while they are trained; its user exports two functions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias, self.back = images.tied_functions()

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight + self.bias) @ self.weight.T + self.back


def functions_of(tied: Tied) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Two functions over three tensors."""
    weight, bias, back = tied.weight, tied.bias, tied.back
    return lambda x: x @ weight + bias, lambda z: z @ weight.T + back


class Pair(nn.Module):
    """Two modules that nobody put into one."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.first, self.second = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)[0])


def asis(values: np.ndarray) -> np.ndarray:
    """Signals go in and come out as they are."""
    return values


def _signal(
    name: str, what: str, build: Callable[[], Any], items: Callable[[], np.ndarray], **more: Any
) -> Architecture:
    return Architecture(name, what, build, items, scale=asis, unscale=asis, **more)


def _signed(name: str, what: str, build: Callable[[], Any], items: Callable[[], np.ndarray]) -> Architecture:
    return Architecture(
        name,
        what,
        build,
        items,
        scale=both_signs,
        unscale=lambda values: (values + 1) * 127.5,
        options={"input_range": (-1, 1)},
    )


ARCHITECTURES = (
    Architecture("mlp", "MLP, [N, 784]", images.FlatAutoencoder, lambda: large_digits().reshape(-1, 784)),
    Architecture("mlp_image", "MLP with Flatten and Unflatten, [N, 1, 28, 28]", images.ImageMlp, large_digits),
    Architecture("conv", "convolutions and transposed ones, [N, 1, 28, 28]", images.ConvAutoencoder, large_digits),
    _signed("conv_colour", "convolutions to a vector, tanh, [N, 3, 16, 16]", images.ColourAutoencoder, colours),
    Architecture("vae", "VAE, (mu, logvar), flattened inside, [N, 1, 28, 28]", images.Vae, large_digits),
    Architecture("vae_dict", "VAE that samples, outputs in dicts, [N, 1, 8, 8]", images.DictVae, digits),
    Architecture(
        "vae_distributions", "VAE, torch.distributions, [N, 64]", images.BernoulliVae, lambda: digits().reshape(-1, 64)
    ),
    _signed("kl", "KL autoencoder, latent_dist and .sample, [N, 3, 16, 16]", images.AutoencoderKl, colours),
    Architecture("resnet", "residual blocks with BatchNorm, [N, 1, 8, 8]", images.ResnetAutoencoder, digits),
    Architecture("mobile", "depthwise-separable convolutions, [N, 1, 28, 28]", images.MobileAutoencoder, large_digits),
    Architecture("shuffle", "PixelUnshuffle and PixelShuffle, [N, 1, 8, 8]", images.ShuffleAutoencoder, digits),
    Architecture("denoising", "dropout, pooling, interpolation, [N, 1, 8, 8]", images.DenoisingAutoencoder, digits),
    Architecture("patches", "patches, attention, tokens as latents, [N, 1, 8, 8]", images.PatchAutoencoder, digits),
    Architecture(
        "convnext",
        "ConvNeXt, channels last, [N, 16, 16, 3]",
        images.ConvNextAutoencoder,
        lambda: np.ascontiguousarray(np.moveaxis(colours(), 1, -1)),
    ),
    Architecture("gdn", "g_a and g_s with GDN, [N, 3, 16, 16]", compression.GdnCompressor, colours),
    Architecture(
        "nested",
        "a training framework's module around it, [N, 1, 28, 28]",
        lambda: images.TrainingModule(images.ConvAutoencoder()),
        large_digits,
    ),
    Architecture(
        "functions", "tied weights, two functions, [N, 64]", Tied, lambda: digits().reshape(-1, 64), given=functions_of
    ),
    Architecture(
        "channels_last_data",
        "pictures [N, 16, 16, 3] for networks of [N, 3, 16, 16]",
        compression.GdnCompressor,
        lambda: np.ascontiguousarray(np.moveaxis(colours(), 1, -1)),
        scale=lambda items: np.ascontiguousarray(np.moveaxis(unit(items), -1, 1)),
        unscale=lambda values: np.moveaxis(values, 1, -1) * 255.0,
    ),
    _signal("conv1d", "1-D convolutions, [N, C, T]", sequences.ConvSensor, lambda: channels_first(signals())),
    _signal(
        "lstm",
        "LSTM to its last state, [N, T, C]",
        sequences.RecurrentAutoencoder,
        lambda: signals()[:, ::4],
        steps=500,
    ),
    _signal(
        "gru",
        "GRU, states and last state, a pair, [N, T, C]",
        lambda: Pair(sequences.GruEncoder(), sequences.GruDecoder()),
        signals,
        given=lambda pair: (pair.first, pair.second),
    ),
    _signal("tokens", "transformer, [N, T, D]", sequences.TokenAutoencoder, lambda: signals().reshape(-1, 8, 16)),
    _signal(
        "audio",
        "dilated, weight-normalized convolutions, [N, 1, T]",
        sequences.AudioAutoencoder,
        lambda: channels_first(signals())[:, :1],
    ),
    _signal(
        "table",
        "columns with BatchNorm, [N, D]",
        lambda: sequences.TableAutoencoder(128),
        lambda: signals().reshape(-1, 128),
    ),
)


def channels_first(values: np.ndarray) -> np.ndarray:
    """[N, T, C] -> [N, C, T]."""
    return np.ascontiguousarray(values.transpose(0, 2, 1))
