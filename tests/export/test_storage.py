"""Weights as float16 where that changes nothing: the same bytes when it is undone, the same outputs when it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from small_images import picture

from latentwire.export.graph.builder import IR_VERSION, OPSET, duplicate
from latentwire.export.storage import SMALLEST, SUFFIX, store_halves, widen_halves
from latentwire.runtime.bundle.bundle import open_bundle

HALVES = np.linspace(-2, 2, SMALLEST).astype(np.float16).astype(np.float32)


def adding(*weights: np.ndarray) -> onnx.ModelProto:
    """x [n] plus each weight [n] in turn."""
    names = [f"w{at}" for at in range(len(weights))]
    steps = ["x", *(f"y{at}" for at in range(1, len(weights))), "y"]
    nodes = [helper.make_node("Add", [steps[at], name], [steps[at + 1]], name) for at, name in enumerate(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(weights[0])]) for name in ("x", "y")]
    stored = [numpy_helper.from_array(weight, name) for weight, name in zip(weights, names, strict=True)]
    graph = helper.make_graph(nodes, "adding", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def stored(model: onnx.ModelProto) -> dict[str, int]:
    """Types of the initializers by name."""
    return {entry.name: entry.data_type for entry in model.graph.initializer}


def with_one(value: float) -> np.ndarray:
    changed = HALVES.copy()
    changed[7] = value
    return changed


def test_a_weight_that_float16_holds_takes_half_the_bytes():
    model = adding(HALVES, HALVES)
    before = len(model.SerializeToString())
    store_halves(model)
    onnx.checker.check_model(model, full_check=True)
    assert stored(model) == {f"w{at}{SUFFIX}": TensorProto.FLOAT16 for at in range(2)}
    assert before - len(model.SerializeToString()) == pytest.approx(2 * HALVES.nbytes / 2, abs=200)


@pytest.mark.parametrize(
    "weight",
    [
        pytest.param(HALVES[:-1], id="small"),
        pytest.param(with_one(1 + 2**-11), id="one more bit"),
        pytest.param(with_one(65520.0), id="infinity as float16"),
        pytest.param(with_one(2.0**-25), id="zero as float16"),
        pytest.param(with_one(np.nan), id="not a number"),
    ],
)
def test_what_float16_does_not_hold_or_repay_stays(weight):
    model = adding(weight)
    before = model.SerializeToString()
    store_halves(model)
    assert model.SerializeToString() == before


@given(
    arrays.arrays(np.float16, SMALLEST, elements=st.floats(width=16, allow_nan=False)),
    st.sampled_from([ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL]),
)
def test_no_value_changes(halves, level):
    model = adding(halves.astype(np.float32))
    before = model.SerializeToString()
    store_halves(model)
    assert list(stored(model).values()) == [TensorProto.FLOAT16]
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    (found,) = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": np.zeros(SMALLEST, "f4")})
    assert np.array_equal(found, halves.astype(np.float32))
    widen_halves(model)
    assert model.SerializeToString() == before


def test_onnx_runtime_widens_when_it_loads(tmp_path: Path):
    model = adding(HALVES)
    store_halves(model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(model.SerializeToString(), options)
    assert [node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node] == ["Add"]


@pytest.mark.parametrize(("role", "share"), [("encoder", 0.94), ("decoder", 0.54)])
def test_a_ready_codec_does_the_same_in_fewer_bytes(role, share, ort_levels):
    bundle = open_bundle("photo")
    wide = onnx.load_model_from_string(bundle.read_model(role, "fp32"))
    widen_halves(wide)  # as shipped, or as it was
    half = duplicate(wide)
    store_halves(half)
    assert len(half.SerializeToString()) / len(wide.SerializeToString()) == pytest.approx(share, abs=0.01)
    item, quality = picture(70, 100), np.asarray(128, np.uint8)
    packet = np.frombuffer(bundle.read_file(bundle.manifest.golden.cases[2].packet), np.uint8)
    feed = {"input": item, "quality": quality} if role == "encoder" else {"packet": packet}
    for level in ort_levels:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        (wanted, *_), (found, *_) = (
            ort.InferenceSession(model.SerializeToString(), options).run(None, feed) for model in (wide, half)
        )
        assert np.array_equal(wanted, found), level
