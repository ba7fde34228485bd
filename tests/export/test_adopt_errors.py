"""The door of `export_codec`: what cannot be an autoencoder is named, with the half, the layer and the shape."""

import numpy as np
import pytest
import torch
from architectures.images import AutoencoderKl, Vae
from torch import nn

from latentwire.export.adopt import adopt
from latentwire.export.errors import HalfError, HalvesNotFoundError, SwappedHalvesError

ITEMS = np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32)
PICTURES = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)
WINDOWS = np.random.default_rng(2).normal(size=(5, 4, 6)).astype(np.float32)


class Small(nn.Module):
    """Encoder and decoder of a vector, by no usual names; a test adds methods to it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.spread, self.up = nn.Linear(12, 5), nn.Linear(12, 5), nn.Linear(5, 12)


def into_codes(model):
    """A decoder that fits, for encoders that are the fault."""
    return model, nn.Linear(5, 12)


def two_models():
    return nn.ModuleDict({"a": AutoencoderKl(), "b": AutoencoderKl()})


FAULTS = {
    "items of another width": (Vae, np.zeros((4, 780), np.float32), HalfError, r"given \[4, 780\].*shape"),
    "latents of another width": (
        lambda: (nn.Linear(12, 9), nn.Linear(8, 12)),
        ITEMS,
        HalfError,
        r"the decoder.*expected \[\.\.\., 8\], found \[4, 9\]",
    ),
    "items of another width come back": (
        lambda: (nn.Linear(12, 9), nn.Linear(9, 7)),
        ITEMS,
        HalfError,
        r"items of the encoder's shape \[4, 12\], found .*\[4, 7\]",
    ),
    "swapped": (
        lambda: (nn.Linear(5, 12), nn.Linear(12, 5)),
        ITEMS,
        SwappedHalvesError,
        r"swapped.*\(encoder, decoder\)",
    ),
    "time first": (lambda: (nn.LSTM(6, 3), nn.Linear(3, 6)), WINDOWS, HalfError, "batch_first=True"),
    "the batch matters": (lambda: (lambda x: x - x.mean(0), nn.Identity()), ITEMS, HalfError, "others of its batch"),
    "no items": (
        lambda: (nn.Flatten(), lambda z: None),
        ITEMS,
        HalfError,
        "decoder to return a tensor, found NoneType",
    ),
    "no latents": (lambda: into_codes(lambda x: "code"), ITEMS, HalfError, "encoder to return a tensor, found str"),
    "integers": (lambda: into_codes(lambda x: x.argmax(1, True)), ITEMS, HalfError, r"float latents, .*int64 \[4, 1\]"),
    "integer items": (lambda: (nn.Identity(), lambda z: z.int()), ITEMS, HalfError, "decoder to return floats"),
    "rows elsewhere": (lambda: into_codes(lambda x: x.T[:5]), ITEMS, HalfError, r"\[5, 4\] for 4 items.*transpose"),
    "not finite": (lambda: (lambda x: x / 0, nn.Identity()), ITEMS, HalfError, "encoder returns 48 values of 48"),
    "a kernel too large": (lambda: (nn.Conv2d(3, 2, 9), nn.Identity()), PICTURES, HalfError, "Conv2d.*Kernel size"),
    "Sequential": (
        lambda: nn.Sequential(nn.Linear(12, 5), nn.Linear(5, 12)),
        ITEMS,
        HalvesNotFoundError,
        r"\(model\[:1\], model\[1:\]\)",
    ),
    "a class": (lambda: Small, ITEMS, HalvesNotFoundError, "class Small; give an instance"),
    "no usual name": (Small, ITEMS, HalvesNotFoundError, r"modules: down \(Linear\), spread \(Linear\), up \(Linear\)"),
    "one path": (lambda: "weights.onnx", ITEMS, HalvesNotFoundError, "two ONNX files"),
    "three": (lambda: (1, 2, 3), ITEMS, HalvesNotFoundError, "found 3"),
    "a number": (lambda: (3, nn.Identity()), ITEMS, HalfError, "encoder to be a torch module.*found int"),
    "a class as a half": (lambda: (Small, nn.Identity()), ITEMS, HalfError, "class Small"),
    "no such file": (lambda: ("nowhere.onnx", nn.Identity()), ITEMS, HalfError, "nowhere.onnx"),
    "several autoencoders": (two_models, PICTURES, HalvesNotFoundError, "several autoencoders: a, b"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_name_the_half_the_layer_and_the_shape(fault):
    make, items, error, match = FAULTS[fault]
    with pytest.raises(error, match=match) as caught:
        adopt(make(), items)
    assert caught.value.half in ("encoder", "decoder", "model")


def test_a_wrong_width_is_named_with_its_layer():
    class Deep(Small):
        def encode(self, x):
            return self.down(torch.tanh(self.spread(x)))

        def decode(self, z):
            return self.up(z)

    expected = r"the encoder, given \[4, 12\], fails in layer 'down' \(Linear.*expected \[\.\.\., 12\], found \[4, 5\]"
    with pytest.raises(HalfError, match=expected) as caught:
        adopt(Deep(), ITEMS)
    assert caught.value.half == "encoder"
