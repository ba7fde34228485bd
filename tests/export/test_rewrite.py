"""Transposed convolutions as convolutions: the same numbers, whatever they are asked for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.rewrite import smallest, untransposed
from latentwire.export.transforms import trace

CHANGED = {"Conv", "Reshape", "Transpose", "Slice", "Shape", "Concat", "Mul"}


def kinds(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def outputs(model: onnx.ModelProto, *values: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: value})[0] for value in values]


def layer(weight: np.ndarray, bias: np.ndarray | None, *, channels: int, **attributes) -> onnx.ModelProto:
    """One ConvTranspose, every other length free."""
    rank = weight.ndim - 2
    free = [f"x{at}" for at in range(rank)], [f"y{at}" for at in range(rank)]
    constants = {"w": weight} | ({} if bias is None else {"b": bias})
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", *constants], ["y"], "layer", **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, *free[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None, *free[1]])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@st.composite
def layers(draw):
    """(weights, bias, attributes, an input), all whole numbers, so that sums are exact in any order."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    pick = lambda low, high: [draw(st.integers(low, high)) for _ in range(rank)]  # noqa: E731
    strides = draw(st.sampled_from([[1] * rank, [2] * rank, [3] * rank])) if draw(st.booleans()) else pick(1, 4)
    kernel = pick(1, 5)
    group = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, width = group * draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lengths = pick(2, 5)
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    whole = lambda *shape: rng.integers(-8, 9, shape).astype(np.float32)  # noqa: E731
    attributes = {"strides": strides, "kernel_shape": kernel, "group": group}
    auto = draw(st.sampled_from(["", "", "", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    attributes["output_padding"] = [draw(st.integers(0, step - 1)) for step in strides]
    if auto:
        attributes["auto_pad"] = auto
        if auto != "VALID":
            del attributes["output_padding"]
    else:
        attributes["pads"] = [draw(st.integers(0, size - 1)) for _ in range(2) for size in kernel]
    bias = whole(group * width) if draw(st.booleans()) else None
    return whole(inputs, width, *kernel), bias, attributes, whole(draw(st.integers(1, 2)), inputs, *lengths)


@settings(max_examples=60, deadline=None)
@given(layers())
def test_any_transposed_convolution_is_a_convolution(drawn):
    weight, bias, attributes, value = drawn
    model = layer(weight, bias, channels=len(weight), **attributes)
    try:
        (wanted,) = outputs(model, value)
    except Exception:  # nothing would be left of the output: no layer
        return
    if wanted.size == 0:
        return
    changed = untransposed(model)
    if "ConvTranspose" in kinds(changed):
        kernel, pads = attributes["kernel_shape"], attributes["pads"]
        rank = len(kernel)
        extra = attributes["output_padding"]
        assert any(
            smallest(step, size, begin, size - step - begin - end + more) is None
            for step, size, begin, end, more in zip(
                attributes["strides"], kernel, pads[:rank], pads[rank:], extra, strict=True
            )
        )
        return
    assert kinds(changed) <= CHANGED
    np.testing.assert_array_equal(outputs(changed, value)[0], wanted)


@pytest.mark.parametrize(
    ("stride", "kernel", "padding", "extra"),
    [(2, 4, 1, 0), (2, 3, 1, 1), (2, 2, 0, 0), (2, 5, 2, 1), (4, 4, 0, 0), (4, 8, 2, 0), (2, 6, 2, 0), (1, 3, 1, 0)],
)
def test_the_usual_layers_of_torch_have_the_smallest_kernels(stride, kernel, padding, extra):
    axis = smallest(stride, kernel, padding, kernel - stride - 2 * padding + extra)
    assert axis is not None
    assert axis.taps == -(-kernel // stride)
    net = torch.nn.ConvTranspose2d(3, 2, kernel, stride, padding, extra).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-8, 9, parameter.shape))
    value = torch.randint(-8, 9, (2, 3, 6, 7)).float()
    dims = {at: torch.export.Dim(name, min=2) for at, name in ((0, "n"), (2, "h"), (3, "w"))}
    changed = untransposed(trace(net, [value], [dims], ["x"], "y", "net"))
    assert "ConvTranspose" not in kinds(changed)
    wider = torch.randint(-8, 9, (5, 3, 9, 4)).float()
    for found, given_ in zip(outputs(changed, value.numpy(), wider.numpy()), (value, wider), strict=True):
        np.testing.assert_array_equal(found, net(given_).detach().numpy())


def test_activations_stand_behind_the_convolution():
    """And only those: what is read twice, or knows channels, stays behind the rearrangement."""
    torch.manual_seed(0)
    up = lambda: torch.nn.ConvTranspose2d(4, 4, 4, 2, 1)  # noqa: E731
    net = torch.nn.Sequential(
        up(), torch.nn.ReLU6(), torch.nn.Tanh(), up(), torch.nn.PReLU(4), up(), torch.nn.SiLU(), up()
    )
    value = torch.randn(2, 4, 3, 5)
    model = trace(net.eval(), [value], [{0: torch.export.Dim("n", min=1)}], ["x"], "y", "net")
    changed = untransposed(model)
    moves = {"Reshape", "Transpose", "Slice"}
    order = [node.op_type for node in changed.graph.node]
    firm = [kind for at, kind in enumerate(order) if kind not in moves or order[at - 1] not in moves]
    assert firm == ["Conv", "Clip", "Tanh", "Transpose", "Conv", "Transpose", "PRelu", "Conv", "Transpose", "Sigmoid",
                    "Mul", "Conv", "Transpose"]  # fmt: skip
    assert changed.graph.output[0].name == "y"
    np.testing.assert_allclose(outputs(changed, value.numpy())[0], outputs(model, value.numpy())[0], atol=1e-5)


def test_layers_keep_their_names_and_modules():
    net = torch.nn.Sequential(torch.nn.ConvTranspose1d(3, 4, 4, 2, 1), torch.nn.ConvTranspose1d(4, 2, 3, 2, dilation=2))
    model = trace(net.eval(), [torch.randn(2, 3, 8)], [], ["x"], "y", "net")
    changed = untransposed(model)
    first = next(node for node in changed.graph.node if node.op_type == "Conv")
    assert (first.name, first.doc_string) == (model.graph.node[0].name, "0")
    assert [node.doc_string for node in changed.graph.node if node.op_type == "ConvTranspose"] == ["1"]  # dilated
    assert {entry.name for entry in changed.graph.initializer} & {"0.weight", "0.bias"} == set()
    assert model.graph.node[0].op_type == "ConvTranspose"
