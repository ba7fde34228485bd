"""The door of `export_codec`: which halves and outputs are found, and what is said of what cannot be one."""

import copy
import dataclasses
import functools
import sys
import warnings
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from architectures import ARCHITECTURES
from architectures.images import AutoencoderKl
from onnx import TensorProto, helper
from torch import Tensor, nn

from latentwire.export.adopt import adopt
from latentwire.export.errors import (
    OutputChoiceError,
    SamplingError,
)
from latentwire.export.measure import session

ITEMS = np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32)
PICTURES = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)


class Small(nn.Module):
    """Encoder and decoder of a vector; tests add methods to it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.spread, self.up = nn.Linear(12, 5), nn.Linear(12, 5), nn.Linear(5, 12)

    def sampled(self, x: Tensor) -> Tensor:
        return self.down(x) + torch.randn(len(x), 5) * torch.exp(0.1 * self.spread(x))


def returning(output, decode=lambda model, z: model.up(z)):
    """A model whose encode returns a structure."""
    return type("Model", (Small,), {"encode": lambda self, x: output(self, x), "decode": decode})()


def latents_of(halves, items=ITEMS):
    with torch.no_grad():
        return halves.encoder(torch.from_numpy(items)).numpy()


def means(model, items=ITEMS):
    with torch.no_grad():
        return model.down(torch.from_numpy(items)).numpy()


@pytest.mark.parametrize("entry", ARCHITECTURES, ids=lambda entry: entry.name)
def test_every_architecture_is_taken_as_it_stands(entry):
    torch.manual_seed(0)
    model = entry.build().eval()
    items = entry.items()[:4]
    scaled = items if items.dtype == np.float32 else (items / np.float32(255)).astype(np.float32)
    before = copy.deepcopy(model.state_dict())
    halves = adopt(entry.given(model), scaled)
    latents = latents_of(halves, scaled)
    with torch.no_grad():
        restored = halves.decoder(torch.from_numpy(latents)).numpy()
        network = entry.scale(items) if entry.name == "channels_last_data" else scaled
        alone = model(torch.from_numpy(network)).numpy()
    if entry.name == "channels_last_data":
        alone = np.moveaxis(alone, 1, -1)
    np.testing.assert_allclose(restored, alone, atol=1e-5)
    assert halves.notes[0].startswith("encoder and decoder: ")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in halves.encoder.parameters())


Named = namedtuple("Named", "mu logvar")


@dataclasses.dataclass
class Record:
    loss: float
    z_mean: Tensor
    hidden: Tensor


STRUCTURES = {
    "pair": (lambda m, x: (m.down(x), m.spread(x)), "mean of the posterior"),
    "list": (lambda m, x: [m.down(x), torch.tensor(0.5)], "with a row an item"),
    "dict": (lambda m, x: {"logvar": m.spread(x), "mu": m.down(x)}, "mean of the posterior (mu)"),
    "named tuple": (lambda m, x: Named(m.down(x), m.spread(x)), "mean of the posterior (mu)"),
    "dataclass": (lambda m, x: Record(0.1, m.down(x), m.spread(x)), "mean of the posterior (z_mean)"),
    "object": (lambda m, x: SimpleNamespace(latents=m.down(x), features=m.spread(x)), "latents"),
    "distribution": (lambda m, x: torch.distributions.Normal(m.down(x), 1.0), "mean of the posterior"),
    "nested": (lambda m, x: {"out": (m.down(x), 3)}, "out.0"),
    "drawn and its mean": (lambda m, x: (m.sampled(x), m.down(x), m.spread(x)), "around which 0 is drawn"),
    "drawn last": (lambda m, x: {"s": m.spread(x), "m": m.down(x), "z": m.sampled(x)}, "around which z is drawn"),
    "drawn and one steady": (lambda m, x: (m.sampled(x), m.down(x)), "the only one that is not drawn"),
    "repeated": (lambda m, x: (m.down(x) + 0.0, m.down(x), m.spread(x)), "mean of the posterior"),
    "wider beside it": (lambda m, x: (torch.cat([m.down(x)] * 2, 1), m.down(x)), "of which the decoder makes items"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_obvious_output_is_taken_and_named(name):
    output, why = STRUCTURES[name]
    model = returning(output)
    halves = adopt(model, ITEMS)
    np.testing.assert_allclose(latents_of(halves), means(model), atol=1e-6)
    assert why in " ".join(halves.notes)


@pytest.mark.parametrize(
    "latent",
    [1, -1, "1", lambda output: output[1], lambda output: {"z": output[1]}],
    ids=["1", "-1", "'1'", "f", "dict"],
)
def test_latent_says_which(latent):
    model = returning(lambda m, x: (m.spread(x), m.down(x)))
    np.testing.assert_allclose(latents_of(adopt(model, ITEMS, latent=latent)), means(model), atol=1e-6)


def test_latent_as_a_dotted_name():
    halves = adopt(AutoencoderKl(), PICTURES, latent="latent_dist.logvar")
    assert halves.notes[1] == "latents: as told, 'latent_dist.logvar'"
    assert latents_of(halves, PICTURES).shape == (4, 4, 4, 4)


@pytest.mark.parametrize("latent", ["mu", 7, lambda output: output.z], ids=["name", "index", "function"])
def test_latent_that_leads_nowhere_lists_what_is_there(latent):
    model = returning(lambda m, x: (m.down(x), m.spread(x)))
    with pytest.raises(OutputChoiceError, match=r"leads nowhere .* returns 0: float32 \[4, 5\]; 1: float32 \[4, 5\]"):
        adopt(model, ITEMS, latent=latent)


def test_several_that_could_be_latents_are_listed():
    model = returning(lambda m, x: {"one": m.down(x), "two": m.spread(x), "three": m.down(2 * x)})
    with pytest.raises(OutputChoiceError, match=r"3 tensors .*one: float32 \[4, 5\]; two: .*latent="):
        adopt(model, ITEMS)


@pytest.mark.parametrize("latent", [None, 0])
def test_an_encoder_that_samples_is_named(latent):
    model = returning(lambda m, x: m.sampled(x) if latent is None else (m.sampled(x), m.down(x)))
    with pytest.raises(SamplingError, match=r"samples|drawn at random"):
        adopt(model, ITEMS, latent=latent)


def test_a_decoder_that_samples_is_named():
    model = returning(lambda m, x: m.down(x), decode=lambda m, z: m.up(z) + torch.randn(12))
    with pytest.raises(SamplingError, match="decoder samples"):
        adopt(model, ITEMS)


def test_random_numbers_of_the_caller_are_left_alone():
    model = returning(lambda m, x: (m.sampled(x), m.down(x)))
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    adopt(model, ITEMS)
    assert torch.equal(torch.rand(3), expected)


def test_of_several_outputs_of_a_decoder_the_items_are_taken():
    model = returning(lambda m, x: m.down(x), decode=lambda m, z: {"features": z, "recon": m.up(z), "again": -m.up(z)})
    halves = adopt(model, ITEMS)
    with torch.no_grad():
        z = torch.from_numpy(means(model))
        assert torch.allclose(halves.decoder(z), model.up(z))
    assert "items: output recon of the decoder" in halves.notes
    model = returning(lambda m, x: m.down(x), decode=lambda m, z: {"a": m.up(z), "b": -m.up(z)})
    with pytest.raises(OutputChoiceError, match=r"2 tensors of the items' shape: a: .*; b: "):
        adopt(model, ITEMS)


def bound(model):
    return model.encode, model.decode


def by_closure(model):
    return (lambda x: model.down(x)), functools.partial(
        torch.nn.functional.linear, weight=model.up.weight, bias=model.up.bias
    )


class Plain:
    """No module, but it has some."""

    def __init__(self, model):
        self.layers, self.gain = [model.down, model.up], torch.tensor(1.0)

    def to_code(self, x):
        return self.layers[0](x) * self.gain

    def from_code(self, z):
        return self.layers[1](z)


GLOBAL = Small()


def through_globals(x):
    return GLOBAL.down(x)


WAYS = {
    "methods": bound,
    "functions": by_closure,
    "methods of an object": lambda model: (Plain(model).to_code, Plain(model).from_code),
    "modules": lambda model: (model.down, model.up),
    "a function of a global": lambda model: (through_globals, GLOBAL.up),
    "a dict": lambda model: {"encoder": model.down, "decoder": model.up},
    "a ModuleList": lambda model: nn.ModuleList([model.down, model.up]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pair_in_every_form_owns_its_weights(way):
    model = returning(lambda m, x: m.down(x))
    halves = adopt(WAYS[way](model), ITEMS)
    twin = copy.deepcopy(halves.encoder)
    np.testing.assert_allclose(latents_of(halves), means(model), atol=1e-6)
    # What was given may change: the halves are copies, and copies of them are their own.
    tensors = [*halves.encoder.parameters(), *halves.encoder.buffers()]
    assert tensors
    with torch.no_grad():
        for tensor in tensors:
            tensor.zero_()
    assert not latents_of(halves).any()
    with torch.no_grad():
        np.testing.assert_allclose(twin(torch.from_numpy(ITEMS)).numpy(), means(model), atol=1e-6)


def test_an_exported_program_and_torchscript():
    model = returning(lambda m, x: m.down(x))
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model.down, (torch.from_numpy(ITEMS),), dynamic_shapes=({0: batch},))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that TorchScript is old
        script = torch.jit.script(nn.Sequential(model.up))
    halves = adopt((program, script), ITEMS)
    np.testing.assert_allclose(latents_of(halves), means(model), atol=1e-6)
    assert not any(isinstance(part, torch.jit.ScriptModule) for part in halves.decoder.modules())
    assert halves.decoder.eval()(torch.zeros(7, 5)).shape == (7, 12)


def test_a_model_within_a_model_and_normalized_weights():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns that the old form is old
                down = nn.utils.weight_norm(nn.Linear(12, 5))
            self.vae = nn.ModuleDict(
                {"encoder": down, "decoder": nn.utils.parametrizations.weight_norm(nn.Linear(5, 12))}
            )
            self.loss = nn.MSELoss()

    model = Outer()
    model.vae["encoder"](torch.from_numpy(ITEMS))
    halves = adopt(model, ITEMS)
    assert halves.notes[0] == "encoder and decoder: the model's .vae.encoder and the model's .vae.decoder"
    assert sorted(dict(halves.encoder.named_parameters())) == ["bias", "weight"]
    assert nn.utils.parametrize.is_parametrized(model.vae["decoder"])
    assert not nn.utils.parametrize.is_parametrized(halves.decoder)
    assert torch.isfinite(model.vae["decoder"](torch.zeros(1, 5))).all()


def test_methods_come_before_modules_and_arguments_are_looked_at():
    assert adopt(AutoencoderKl(), PICTURES).notes[0].endswith(".encode and the model's .decode")

    class Conditional(Small):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = self.down, self.up

        def encode(self, x, labels):
            return self.down(x) + labels

        def decode(self, z):
            return self.up(z)

    halves = adopt(Conditional(), ITEMS)
    assert halves.notes[:2] == (
        "encoder and decoder: the model's .encoder and the model's .decoder",
        "its .encode also needs labels, which a packet does not carry",
    )


ARRANGED = {
    "channels first": (np.moveaxis(PICTURES, 1, -1), AutoencoderKl, "channels first"),
    "flattened": (
        np.zeros((4, 28, 28), np.float32),
        lambda: nn.ModuleList([nn.Linear(784, 8), nn.Linear(8, 784)]),
        "flat",
    ),
    "one channel": (
        np.zeros((4, 8, 8), np.float32),
        lambda: nn.ModuleList([nn.Conv2d(1, 2, 3, 2, 1), nn.ConvTranspose2d(2, 1, 4, 2, 1)]),
        "axis of one channel",
    ),
    "channels last": (
        np.zeros((4, 6, 32), np.float32),
        lambda: nn.ModuleList([nn.Linear(6, 2), nn.Linear(2, 6)]),
        "channels last",
    ),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_items_whose_axes_networks_want_elsewhere(name):
    items, build, said = ARRANGED[name]
    halves = adopt(build(), items)
    assert said in " ".join(halves.notes)
    latents = latents_of(halves, items)
    with torch.no_grad():
        assert halves.decoder(torch.from_numpy(latents)).shape == items.shape


def linear_onnx(weight: np.ndarray, outputs: int = 1) -> onnx.ModelProto:
    shape = [None, weight.shape[1]]
    names = ["y", "other"][:outputs]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["other"])][:outputs]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weight.shape[0]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_onnx_halves_and_a_chosen_output(tmp_path):
    weight = np.random.default_rng(3).normal(size=(12, 5)).astype(np.float32)
    onnx.save(linear_onnx(weight, outputs=2), tmp_path / "encoder.onnx")
    decoder = linear_onnx(weight.T.copy())
    halves = adopt((str(tmp_path / "encoder.onnx"), decoder), ITEMS, latent="other")
    encoder = session(halves.encoder)
    found = encoder.run(None, {encoder.get_inputs()[0].name: ITEMS})[0]
    np.testing.assert_allclose(found, -ITEMS @ weight, rtol=1e-5)
    assert halves.notes[1] == "latents: as told, 'other'"


def test_neither_torch_nor_onnx_is_imported_before_it_is_needed():
    import subprocess

    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from latentwire.export import adopt\n"
        "from latentwire.export.errors import HalvesNotFoundError\n"
        "import numpy as np\n"
        "items, notes, _ = adopt.read_data(np.zeros((3, 4)), cast=True)\n"
        "try: adopt.adopt(object(), items)\n"
        "except HalvesNotFoundError: print(items.dtype, notes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "float32 ('data: float64 cast to float32',)"
