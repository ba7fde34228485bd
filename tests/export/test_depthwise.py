"""Depthwise convolutions of bytes as convolutions of blocks: the same bytes at every size, and nothing else touched."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_images import picture

from latentwire.export.assemble import nested_graphs
from latentwire.export.errors import ExportError
from latentwire.export.graph.builder import IR_VERSION, OPSET
from latentwire.export.targets.depthwise import PLACES, Finder, in_blocks
from latentwire.export.targets.ortformat import session_like
from latentwire.runtime.bundle.bundle import open_bundle


def convolution(channels: int, *, size: int = 5, inputs: int = 1, bias: bool = True, **attributes) -> onnx.ModelProto:
    """Bytes through one quantized convolution in groups; every constant is random."""
    rng = np.random.default_rng(channels)
    arrays = {
        "x.scale": np.float32(0.02),
        "x.zero": np.uint8(rng.integers(1, 255)),
        "w": rng.integers(-63, 64, (channels, inputs, size, size)).astype(np.int8),
        "w.scale": rng.uniform(0.001, 0.01, channels).astype(np.float32),
        "w.zero": np.zeros(channels, np.int8),
        "b": rng.integers(-3000, 3000, channels).astype(np.int32),
        "b.zero": np.zeros(channels, np.int32),
        "y.scale": np.float32(0.05),
        "y.zero": np.uint8(99),
    }
    arrays["b.scale"] = arrays["x.scale"] * arrays["w.scale"]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x.scale", "x.zero"], ["x.float"]),
        helper.make_node("DequantizeLinear", ["w", "w.scale", "w.zero"], ["w.float"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b.scale", "b.zero"], ["b.float"], axis=0),
        helper.make_node(
            "Conv",
            ["x.float", "w.float", *(["b.float"] if bias else [])],
            ["y.float"],
            "convolution",
            group=channels // inputs,
            **{"kernel_shape": [size] * 2, "pads": [size // 2] * 4, **attributes},
        ),
        helper.make_node("QuantizeLinear", ["y.float", "y.scale", "y.zero"], ["y"]),
    ]
    shape = [1, channels, "height", "width"]
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("x", "y")]
    graph = helper.make_graph(
        nodes, "one", ends[:1], ends[1:], [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def session(model: onnx.ModelProto, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("channels", [2, 7])
def test_blocks_give_the_same_bytes_at_every_size(channels, ort_levels):
    plain = convolution(channels)
    blocks = in_blocks(plain)
    assert [node.op_type for node in blocks.graph.node].count("Conv") == 1
    rng = np.random.default_rng(0)
    for level in ort_levels:
        wanted, found = session(plain, level), session(blocks, level)
        for size in [(1, 1), (4, 4), (3, 9), (8, 12), (17, 6)]:
            image = rng.integers(0, 256, (1, channels, *size), dtype=np.uint8)
            (expected,), (bytes_found,) = wanted.run(None, {"x": image}), found.run(None, {"x": image})
            assert np.array_equal(bytes_found, expected), (level, size)
            assert len(np.unique(expected)) > 1 or size == (1, 1)


@pytest.mark.parametrize(
    "model",
    [
        convolution(4, size=3),
        convolution(4, strides=[2, 2]),
        convolution(4, inputs=2),
        convolution(4, dilations=[2, 2]),
        convolution(4, pads=[2, 2, 2, 1]),
    ],
)
def test_other_convolutions_are_left_alone(model):
    assert in_blocks(model).graph.node == model.graph.node


def test_a_float_convolution_is_left_alone():
    model = convolution(4)
    model.graph.node[4].op_type = "Relu"
    del model.graph.node[4].input[1:]
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    assert in_blocks(model).graph.node == model.graph.node


def test_what_our_quantizer_does_not_write_is_refused():
    with pytest.raises(ExportError, match="weights around 0 and a bias, quantized, of convolution"):
        in_blocks(convolution(4, bias=False))
    lifted = convolution(4)
    zero = next(entry for entry in lifted.graph.initializer if entry.name == "w.zero")
    zero.CopyFrom(numpy_helper.from_array(np.full(4, 3, np.int8), "w.zero"))
    with pytest.raises(ExportError, match="weights around 0"):
        in_blocks(lifted)


@pytest.mark.slow
def test_photos_packets_stay_what_they_are():
    plain = onnx.load_model_from_string(open_bundle("photo").read_model("encoder", "int8"))
    blocks = in_blocks(plain)
    assert (len(Finder(plain.graph).all()), len(Finder(blocks.graph).all())) == (3, 0)
    groups = [
        entry.i for node in blocks.graph.node for entry in node.attribute if entry.name == "group" and entry.i > 1
    ]
    assert groups == [32, 64, 64]
    weights = {tuple(entry.dims) for entry in blocks.graph.initializer if len(entry.dims) == 4}
    assert {(PLACES * group, PLACES, 2, 2) for group in groups} <= weights
    assert len(list(nested_graphs(blocks.graph))) == len(list(nested_graphs(plain.graph)))
    wanted, found = (session_like(model.SerializeToString()) for model in (plain, blocks))
    for seed, size in enumerate([(1, 1), (64, 128), (100, 150), (257, 65)]):
        for quality in (0, 96, 255):
            feed = {"input": picture(*size, seed=seed), "quality": np.asarray(quality, np.uint8)}
            assert np.array_equal(found.run(None, feed)[0], wanted.run(None, feed)[0]), (size, quality)
    assert blocks.metadata_props == plain.metadata_props
