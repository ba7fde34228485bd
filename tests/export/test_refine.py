"""Ranges and weights of int8 layers."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from latentwire.export import refine
from latentwire.export.quantize import Quantizer
from latentwire.export.transforms import trace


def correlated(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Inputs like neighbouring pixels: float64 [rows, columns], correlation 0.95 from one to the next."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(rows, columns))
    for at in range(1, columns):
        steps[:, at] = 0.95 * steps[:, at - 1] + np.sqrt(1 - 0.95**2) * steps[:, at]
    return steps


def test_weights_make_up_for_each_other_where_inputs_are_correlated():
    inputs = correlated(4000, 64)
    exact = np.random.default_rng(1).normal(size=(32, 64))
    scale = np.abs(exact).max(1) / refine.LARGEST
    plain = np.rint(exact / scale[:, None])
    better = refine.rounded_rows(exact, plain, scale, (inputs.T @ inputs)[None])
    fresh = correlated(4000, 64, seed=2)

    def loss(rounded: np.ndarray) -> float:
        return float(np.square(fresh @ (rounded * scale[:, None] - exact).T).mean())

    assert np.abs(better).max() <= refine.LARGEST
    assert loss(better) < 0.25 * loss(plain)


def test_weights_of_independent_inputs_are_rounded_plainly():
    exact = np.random.default_rng(0).uniform(-60, 60, (8, 20))
    rounded = refine.rounded_rows(exact, np.rint(exact), np.ones(8), np.eye(20)[None])
    np.testing.assert_array_equal(rounded, np.rint(exact))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), dead=st.integers(0, 6), rows=st.sampled_from([1, 3, 50]))
def test_no_output_becomes_worse(seed, dead, rows):
    """Not with fewer samples than inputs either, nor with inputs that are always 0."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 12)) @ rng.normal(size=(12, 12))
    inputs[:, :dead] = 0
    moments = np.stack([inputs.T @ inputs] * 2)
    exact, scale = rng.normal(size=(6, 12)), rng.uniform(0.01, 0.05, 6)
    plain = np.clip(np.rint(exact / scale[:, None]), -refine.LARGEST, refine.LARGEST)
    better = refine.rounded_rows(exact, plain, scale, moments)
    losses = [refine.squared(w - exact / scale[:, None], moments[0]) for w in (better, plain)]
    assert (losses[0] <= losses[1] + 1e-9).all()
    assert np.abs(better).max() <= refine.LARGEST


def test_a_range_leaves_rare_values_out_and_keeps_bytes():
    rng = np.random.default_rng(0)
    spiky = np.append(rng.normal(size=100_000), [-12, 12]).astype(np.float32)
    assert refine.SHARES[int(refine.range_errors(spiky, 24 / 255, 128).argmin())] == 0.8
    levels = rng.integers(0, 256, 1000).astype(np.float32) - 128
    errors = refine.range_errors(levels, 1.0, 128)
    assert errors[0] == 0 < errors[1:].min()


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 6, 9, 11), (4, 6, 3, 3), {"pads": [1, 0, 2, 1]}),
        ((1, 6, 12, 12), (6, 1, 5, 5), {"group": 6, "pads": [2, 2, 2, 2]}),
        ((1, 6, 9, 9), (8, 3, 2, 2), {"group": 2, "strides": [2, 3]}),
        ((3, 4, 40), (5, 4, 3), {"dilations": [4], "strides": [2]}),
        ((1, 8, 5, 5), (3, 8, 1, 1), {}),
    ],
)
def test_patches_are_what_a_convolution_multiplies(shape, kernel, options):
    rng = np.random.default_rng(0)
    value, weight = rng.normal(size=shape).astype(np.float32), rng.normal(size=kernel).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **options)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xwy"]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:2], values[2:]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    wanted = ort.InferenceSession(model.SerializeToString()).run(None, {"x": value, "w": weight})[0]
    seen = refine.patches(value, node, kernel)
    found = seen @ weight.reshape(len(seen), kernel[0] // len(seen), -1).transpose(0, 2, 1)  # [groups, n, outputs]
    rows = np.moveaxis(wanted, 1, -1).reshape(-1, len(seen), kernel[0] // len(seen)).transpose(1, 0, 2)
    np.testing.assert_allclose(found, rows, atol=1e-4)


@pytest.fixture(scope="module")
def traced():
    """A small network: the float model, smooth pictures [40, 3, 16, 16], and its quantizer on 20 of them."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 2, 2), torch.nn.Flatten(1),
        torch.nn.Linear(512, 32),
    ).eval()  # fmt: skip
    smooth = correlated(3 * 40 * 16, 16).reshape(40, 3, 16, 16).astype(np.float32)
    model = trace(network, [torch.tensor(smooth[:1])], [], ["x"], "y", "network")
    return model, smooth, quantizer(model, smooth)


def quantizer(model, smooth):
    operators = ("Conv", "Gemm", "MatMul")
    return Quantizer(model, [{"x": image[None]} for image in smooth[:20]], operators, float_outputs=operators)


def loss_of(model, candidate, smooth) -> float:
    """Mean squared error of its outputs on the pictures that it was not calibrated on."""
    sessions = [ort.InferenceSession(m.SerializeToString()) for m in (model, candidate)]
    outputs = [[s.run(None, {"x": image[None]})[0] for image in smooth[20:]] for s in sessions]
    return float(np.square(np.subtract(*outputs)).mean())


def stored(candidate) -> dict[str, np.ndarray]:
    """The whole numbers of each quantized layer, by the layer's name."""
    return {node.name: numpy_helper.to_array(weight) for node, weight, _ in refine.quantized_weights(candidate)}


def test_int8_layers_lose_less_than_by_plain_rounding(traced):
    model, smooth, made = traced
    assert loss_of(model, made.quantized(), smooth) < 0.85 * loss_of(model, made.plain(), smooth)


def test_a_layer_that_stays_float_leaves_the_others_as_they_are(traced):
    model, smooth, made = traced
    whole, (first, *_) = made.quantized(), [node.name for node in model.graph.node if node.op_type == "Conv"]
    part = made.quantized([first])
    assert set(stored(part)) == set(stored(whole)) - {first}
    for name, weight in stored(part).items():
        np.testing.assert_array_equal(weight, stored(whole)[name])
    assert 0 < loss_of(model, part, smooth) < loss_of(model, whole, smooth)


def test_layers_of_very_many_inputs_are_rounded_plainly(traced, monkeypatch):
    """Their moments would fill the memory."""
    model, smooth, made = traced
    monkeypatch.setattr(refine, "WIDEST", 64)
    narrow = stored(quantizer(model, smooth).quantized())
    assert sorted(weight[0].size for weight in narrow.values()) == [64, 75, 512]
    for name, weight in narrow.items():
        wanted = made.quantized() if weight[0].size == 64 else made.plain()
        np.testing.assert_array_equal(weight, stored(wanted)[name])
