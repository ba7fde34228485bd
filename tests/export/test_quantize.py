"""What becomes of each kind of layer in int8, and what is said of those that stay float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from latentwire.export import candidates, quantize
from latentwire.export.candidates import Candidates, output_of
from latentwire.export.errors import QuantizationError
from latentwire.export.quantize import FLOAT, fit_int8
from latentwire.export.transforms import trace
from latentwire.runtime.bundle.operators import OPERATORS


def smooth(*shape: int) -> np.ndarray:
    """Items like pictures or signals: neighbours are alike."""
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(*shape, generator=generator)
    for axis in range(2, len(shape)):
        values = sum(values.roll(by, axis) for by in range(4)) / 2
    return values.numpy()


def traced(network: nn.Module, items: np.ndarray) -> onnx.ModelProto:
    return trace(network.eval(), [torch.tensor(items[:4])], [{0: torch.export.Dim("n", min=1)}], ["x"], "y", "network")


def pair(network: nn.Module, *shape: int) -> tuple[onnx.ModelProto, onnx.ModelProto, np.ndarray]:
    """(float model, its int8 form, items [80, ...] that the last 16 of were not seen)."""
    items = smooth(80, *shape)
    model = traced(network, items)
    return model, Candidates(model, items[:64]).quantized(), items


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def fused(model: onnx.ModelProto, folder) -> Counter[str]:
    """The operators that ONNX Runtime runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "fused.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return kinds(onnx.load(folder / "fused.onnx"))


def relative_error(model: onnx.ModelProto, found: onnx.ModelProto, items: np.ndarray) -> float:
    exact, again = (output_of(entry, {"x": items[64:]}) for entry in (model, found))
    return float(np.square(again - exact).mean() / np.square(exact - exact.mean(0)).mean())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return torch.relu(value + self.branch(value))


def depthwise(width: int, wider: int, stride: int) -> list[nn.Module]:
    first = nn.Conv2d(width, width, 3, stride, 1, groups=width)
    return [first, nn.BatchNorm2d(width), nn.ReLU6(), nn.Conv2d(width, wider, 1), nn.BatchNorm2d(wider), nn.ReLU()]


NETWORKS = {
    "linear": ([nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 24)], (96,), {"QGemm": 2}),
    "flattened": (
        [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 32)],
        (1, 16, 16),
        {"QLinearConv": 2, "QGemm": 1},
    ),
    "depthwise": (
        [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *depthwise(16, 32, 1), nn.MaxPool2d(2), *depthwise(32, 32, 1)],
        (3, 24, 24),
        {"QLinearConv": 5},
    ),
    "leaky": (
        [nn.Conv2d(3, 32, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, 8, 1)],
        (3, 16, 16),
        {"QLinearConv": 3},
    ),
    "transposed": (
        [
            *(nn.ConvTranspose2d(16, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.ConvTranspose2d(32, 16, 3, 2, 1, 1, groups=2), nn.SiLU(), nn.ConvTranspose2d(16, 3, 2, 2)),
            nn.Sigmoid(),
        ],
        (16, 4, 4),
        {"QLinearConv": 3},
    ),
    "resized": (
        [nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(32, 3, 3, 1, 1)],
        (16, 4, 4),
        {"QLinearConv": 2},
    ),
    "residual": (
        [nn.Conv2d(3, 24, 4, 2, 1), nn.ReLU(), Residual(24), nn.Conv2d(24, 8, 1)],
        (3, 16, 16),
        {"QLinearConv": 4},
    ),
    "signals": (
        [nn.Conv1d(4, 32, 5, 2, 2), nn.ReLU(), nn.ConvTranspose1d(32, 16, 4, 2, 1), nn.ReLU()],
        (4, 64),
        {"QLinearConv": 2},
    ),
    "volumes": (
        [nn.Conv3d(1, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose3d(8, 8, 4, 2, 1)],
        (1, 8, 8, 8),
        {"QLinearConv": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_integer_where_they_are_run(name, tmp_path):
    """Not only in the file: what ONNX Runtime makes of it multiplies no floats."""
    torch.manual_seed(0)
    layers, shape, wanted = NETWORKS[name]
    model, found, items = pair(nn.Sequential(*layers), *shape)
    run = fused(found, tmp_path)
    assert {kind: run[kind] for kind in wanted} == wanted
    assert not {"Conv", "FusedConv", "ConvTranspose", "Gemm", "MatMul"} & set(run)
    assert run["QuantizeLinear"] <= 1 + (name in ("leaky", "transposed")) + 2 * (name == "residual")
    assert (
        set(kinds(found)) <= OPERATORS
    )  # as it is written: nothing that the runtime refuses, or that is not ONNX's own
    assert relative_error(model, found, items) < 0.01
    assert found.graph.output == model.graph.output
    assert found.ByteSize() < model.ByteSize()


def test_a_convolutions_latents_have_a_step_for_each_channel():
    """A soft channel beside a loud one keeps its 8 bits."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3, 1, 1)
    with torch.no_grad():
        layer.weight *= torch.logspace(0, -4, 8)[:, None, None, None]
        layer.bias *= torch.logspace(0, -4, 8)
    model, found, items = pair(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), layer), 3, 12, 12)
    exact, again = (output_of(entry, {"x": items[64:]}) for entry in (model, found))
    by_channel = np.square(again - exact).mean((0, 2, 3)) / exact.var((0, 2, 3))
    assert by_channel.max() < 0.003


def test_a_layer_of_hardly_any_weight_keeps_its_bias():
    layer = nn.Linear(16, 4)
    with torch.no_grad():
        layer.weight[1] *= 1e-12
        layer.weight[2] = 0
        layer.bias[1:3] = torch.tensor([100.0, -100.0])
    model, found, items = pair(nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 4)), 16)
    exact, again = (output_of(entry, {"x": items[64:]}) for entry in (model, found))
    np.testing.assert_allclose(again, exact, atol=0.02 * np.abs(exact).max())


def recurrent(kind: str, gates: int, *, head: bool = False) -> onnx.ModelProto:
    """[n, 10, 8] -> [n, 1, 10, 4], or [n, 1, 10, 32] through a linear layer."""
    shapes = {"w": (1, gates * 4, 8), "r": (1, gates * 4, 4)} | ({"head.weight": (4, 32)} if head else {})
    rng = np.random.default_rng(0)
    nodes = [helper.make_node(kind, ["x", "w", "r"], ["y"], "recurrent", hidden_size=4)]
    if head:
        nodes[0].output[0] = "states"
        nodes.append(helper.make_node("MatMul", ["states", "head.weight"], ["y"], "head"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [None, 10, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [None, 1, 10, 32 if head else 4])],
        [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def half(share: float):
    """A measure that is content with anything."""
    return lambda _: share


def test_recurrent_layers_stay_float_and_are_named():
    items = smooth(80, 10, 8)
    found = fit_int8(recurrent("LSTM", 4, head=True), items, half(0.1), "analysis")
    assert (found.layers, found.float_layers) == (1, ("recurrent",))
    assert "LSTM in the analysis transform stays float" in found.note


def test_a_transform_without_layers_for_int8_has_no_int8_variant():
    items = smooth(80, 10, 8)
    found = fit_int8(recurrent("GRU", 3), items, half(0.1), "synthesis")
    assert (found.model, found.layers, found.float_layers) == (None, 0, ("recurrent",))
    assert found.note == (
        "the synthesis transform has no int8 variant: it has no weights but those of GRU, which have no int8 form"
    )


def test_an_int8_file_that_is_no_smaller_is_none():
    items = smooth(80, 3)
    found = fit_int8(traced(nn.Linear(3, 2), items), items, half(0), "analysis")
    assert (found.model, found.layers, len(found.float_layers)) == (None, 0, 1)
    assert "so small that it would have" in found.note


def test_products_of_activations_stay_float(tmp_path):
    torch.manual_seed(0)
    model, found, items = pair(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 10, 32)
    assert relative_error(model, found, items) < 0.001
    run = fused(found, tmp_path)
    assert run["MatMulIntegerToFloat"] + run["QGemm"] == 4
    assert run["FusedMatMul"] + run["MatMul"] == 2  # attention's own
    assert quantize.kinds_of(model) == []


class Counting:
    """Stands for candidates: a candidate is the number of its layers that stay float."""

    names = [str(at) for at in range(20)]  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[int] = []

    def quantized(self, keep_float: Sequence[str]) -> int:
        self.asked.append(len(keep_float))
        return len(keep_float)


@pytest.mark.parametrize("needed", range(1, 20))
def test_few_measures_find_the_fewest_layers_that_stay_float(needed):
    fakes = Counting()
    kept, found, loss = quantize.fewest(fakes, fakes.names, lambda count: 0.4 if count >= needed else 0.9)
    assert (list(kept), found, loss) == (fakes.names[:needed], needed, 0.4)
    assert len(fakes.asked) == len(set(fakes.asked)) <= 9


def test_one_layer_is_left_where_nothing_is_enough():
    fakes = Counting()
    kept, found, loss = quantize.fewest(fakes, fakes.names, lambda count: 0.9)
    assert (len(kept), found, loss) == (19, 19, 0.9)


@pytest.fixture(scope="module")
def deep():
    """(a model of four linear layers of which the third has one loud weight, items)."""
    torch.manual_seed(0)
    network = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(24, 24), nn.Tanh())))
    with torch.no_grad():
        network[4].weight[:, 0] *= 100  # its rows have hardly any steps left for the others
    items = smooth(80, 24)
    return traced(network, items), items


def test_layers_that_hurt_most_stay_float_first(deep):
    model, items = deep
    order = Candidates(model, items).order()
    found = fit_int8(model, items, lambda candidate: 0.9 if kinds(candidate)["QGemm"] else 0.1, "analysis")
    assert (found.layers, found.float_layers) == (4, ())
    found = fit_int8(model, items, lambda candidate: 0.2 * kinds(candidate)["QuantizeLinear"], "analysis")
    assert found.layers == 2
    worst = sorted(order, key=lambda name: -order[name])[:2]
    assert set(found.float_layers) == {node.doc_string for node in model.graph.node if node.name in worst}
    assert "4" in found.float_layers


def test_too_lossy_whatever_stays_float_is_an_error_that_names_the_layers(deep):
    model, items = deep
    with pytest.raises(QuantizationError, match=r"the synthesis transform cannot be quantized .* limit.*: 0: .*, 2: "):
        fit_int8(model, items, half(0.9), "synthesis")


def test_calibration_of_large_items_is_bounded_by_bytes(monkeypatch):
    """Fewer items in a run, then fewer items: what is held does not grow with a convolution's size."""
    items = smooth(80, 2, 16, 16)
    model = traced(nn.Sequential(nn.Conv2d(2, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)), items)
    assert [len(feed["x"]) for feed in Candidates(model, items).feeds] == [80]
    one = 4 * 256 * (2 + 8 + 4)  # the input, and what becomes bytes
    monkeypatch.setattr(candidates, "RUN_BYTES", 20 * one)
    assert max(len(feed["x"]) for feed in Candidates(model, items).feeds) in range(10, 21)
    monkeypatch.setattr(candidates, "ORDER_ITEMS", 8)
    monkeypatch.setattr(candidates, "CALIBRATION_BYTES", 30 * one)
    assert sum(len(feed["x"]) for feed in Candidates(model, items).feeds) in range(15, 41)


def test_int8_that_is_slower_is_said_to_be(deep, monkeypatch):
    model, items = deep
    monkeypatch.setattr(quantize, "time_ratio", lambda *_: 1.26)
    found = fit_int8(model, items, half(0.1), "synthesis")
    assert found.note == (
        "the synthesis transform in int8 takes 1.3 times as long as in fp32 on the processor that exported it: "
        "it is smaller, not faster"
    )
    monkeypatch.setattr(quantize, "time_ratio", lambda *_: 1.24)
    assert fit_int8(model, items, half(0.1), "synthesis").note == ""
