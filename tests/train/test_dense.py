"""The networks: the seeds' shapes to the layer, and the linear start of the residual network."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, nn

from latentwire.train import DenseSettings, SettingsError
from latentwire.train.dense.network import KERAS, TORCH, DenseAutoencoder, codec_network, principal_components

CODEC = codec_network((64,))


def network(settings: DenseSettings, width: int, items: torch.Tensor | None = None, seed: int = 0) -> DenseAutoencoder:
    made = DenseAutoencoder(settings, (width,))
    made.start(torch.zeros(1, width) if items is None else items, Generator().manual_seed(seed))
    return made


def widths(module: nn.Module) -> list[int]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def test_the_keras_seed() -> None:
    made = network(KERAS, 784)
    assert widths(made.encoder) == [784, 256, 128, 64, 32]
    assert widths(made.decoder) == [32, 64, 128, 256, 784]
    code = made.encode(torch.rand(64, 784))
    output = made.decode(code)
    assert (code >= 0).all() and (code == 0).any()
    assert ((output > 0) & (output < 1)).all()
    first = made.encoder.body[0]
    bound = math.sqrt(6 / (784 + 256))
    assert 0.99 * bound < first.weight.abs().max() <= bound
    assert not first.bias.any()


def test_the_torch_seed() -> None:
    made = network(TORCH, 784)
    assert widths(made.encoder) == [784, 256, 32]
    assert widths(made.decoder) == [32, 256, 784]
    code = made.encode(torch.rand(64, 784))
    output = made.decode(code)
    assert (code < 0).any() and (code > 0).any()
    assert ((output > 0) & (output < 1)).all()
    bound = 1 / math.sqrt(784)
    for values in made.encoder.body[0].parameters():
        assert 0.95 * bound < values.abs().max() <= bound


def test_hidden_layers_are_rectified() -> None:
    made = network(TORCH, 10)
    assert (made.encoder.features(torch.rand(20, 10)) >= 0).all()


@pytest.mark.parametrize("width", [1, 7, 64])
@pytest.mark.parametrize("hidden", [(), (5,), (9, 8, 7)])
def test_any_size(width: int, hidden: tuple[int, ...]) -> None:
    settings = replace(TORCH, hidden=hidden, latent=3, decoder_hidden=hidden[::-1])
    made = network(settings, width)
    assert made.encode(torch.rand(4, width)).shape == (4, 3)
    assert made(torch.rand(4, width)).shape == (4, width)


def test_components_are_orthonormal_and_ordered(digits) -> None:
    items = digits.batch(slice(None))
    mean, basis, deviation = principal_components(items, 20)
    torch.testing.assert_close(mean, items.mean(0))
    torch.testing.assert_close(basis @ basis.T, torch.eye(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(((items - mean) @ basis.T).std(0, correction=0), deviation, atol=1e-5, rtol=1e-4)
    assert (deviation.diff() <= 0).all()


def test_a_residual_network_starts_as_the_principal_components(digits) -> None:
    items = digits.batch(slice(None))
    made = network(replace(CODEC, latent=10), 64, items)
    mean, basis, deviation = principal_components(items, 10)
    torch.testing.assert_close(made.encode(items), (items - mean) @ basis.T, atol=1e-5, rtol=1e-4)
    # What is left over is the variance of the components that were left out.
    left = (made(items) - items).square().sum(1).mean()
    total = (items - mean).square().sum(1).mean()
    torch.testing.assert_close(left, total - deviation.square().sum(), atol=1e-4, rtol=1e-3)


def test_more_latents_than_components_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"64 latents .* found items of shape \[30, 100\]"):
        network(CODEC, 100, torch.rand(30, 100))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": 0}, "latent must be at least 1"),
        ({"hidden": (4, 0)}, "hidden must be widths of at least 1, found 4,0"),
        ({"activation": "relu6"}, "activation must be one of relu"),
        ({"network": "conv"}, "network must be one of plain, residual"),
        ({"output_activation": "sigmoid"}, "a residual network has a linear code and a linear output"),
    ],
)
def test_settings_out_of_range(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(CODEC, **changes)


def test_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = network(KERAS, 20, seed=3).state_dict()
    torch.manual_seed(2)
    again, other = network(KERAS, 20, seed=3).state_dict(), network(KERAS, 20, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.head.weight"], other["encoder.head.weight"])


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 1), (6, 4, 3)])
def test_a_decoder_of_pictures_starts_as_the_components_and_has_the_items_shape(shape: tuple[int, ...]) -> None:
    items = torch.rand(200, math.prod(shape), generator=Generator().manual_seed(0))
    settings = replace(CODEC, latent=1, decoder="pictures", maps=(3, 2), blocks=(1, 2), decoder_hidden=(5,))
    made = DenseAutoencoder(settings, shape)
    made.start(items, Generator().manual_seed(0))
    latents = made.encode(items)
    torch.testing.assert_close(made.decode(latents), made.decoder.klt(latents))
    nn.init.normal_(made.decoder.net.head.weight)
    assert made.decode(latents).shape == items.shape
    assert not made.decode(latents).equal(made.decoder.klt(latents))


def test_a_decoder_of_pictures_paints_rows_and_channels_in_the_items_order() -> None:
    """Biases of the last layer that differ by channel must come out interleaved, as the items have them."""
    made = DenseAutoencoder(replace(CODEC, latent=1, decoder="pictures"), (4, 4, 2))
    made.start(torch.rand(20, 32), Generator().manual_seed(0))
    net = made.decoder.net
    with torch.no_grad():
        net.head.bias.copy_(torch.tensor([1.0] * 4 + [2.0] * 4))
    torch.testing.assert_close(net(torch.zeros(1, 1)), torch.tensor([1.0, 2.0]).repeat(16)[None])


def test_a_decoder_of_pictures_needs_pictures() -> None:
    with pytest.raises(SettingsError, match=r"items of shape \[H, W\] or \[H, W, channels\], found \[64\]"):
        DenseAutoencoder(replace(CODEC, decoder="pictures"), (64,))
    with pytest.raises(SettingsError, match="belongs to --network residual"):
        replace(TORCH, decoder="pictures")


@pytest.mark.parametrize(
    ("shape", "latent", "decoder"),
    [
        ((5,), 5, "layers"),
        ((300,), 96, "layers"),
        ((8, 8), 64, "layers"),
        ((28, 28), 96, "pictures"),
        ((16, 20, 3), 96, "pictures"),
    ],
)
def test_the_codec_network_fits_the_items(shape: tuple[int, ...], latent: int, decoder: str) -> None:
    settings = codec_network(shape)
    assert (settings.latent, settings.decoder) == (latent, decoder)
    assert DenseAutoencoder(settings, shape).settings == settings
