"""Halves that are ONNX models: what is made of them, and what is refused and why."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper, parser
from torch import nn

from latentwire.export.errors import HalfError, OutputChoiceError, SamplingError
from latentwire.export.factorized.torch_reference import sensitivity as by_gradients
from latentwire.export.halves import Ends, in_half_precision, prepared, read_half, sensitivity, with_scaling
from latentwire.export.measure import session
from latentwire.runtime.bundle import check_model


def model_of(
    text: str, *, opset: int = 20, version: int = 9, domains: str = "", **weights: np.ndarray
) -> onnx.ModelProto:
    """A model from ONNX text; arrays become initializers."""
    model = parser.parse_model(f'<ir_version: {version}, opset_import: ["": {opset}{domains}]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    return session(model).run(None, {model.graph.input[0].name: values})[0]


def items(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


PLAIN = "half (float[N, 6] x) => (float[N, 3] y) { y = MatMul(x, w) }"


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20, 22])
def test_a_half_of_any_opset_becomes_one_of_ours(opset):
    text = "half (float[N, 6] x) => (float[N, 3] y) { a = MatMul(x, w) b = Relu(a) y = Softmax<axis = 1>(b) }"
    given_model = model_of(text, opset=opset, version=8 if opset < 20 else 10, w=weight(6, 3))
    before = given_model.SerializeToString()
    half = prepared(given_model, "encoder")
    assert [(entry.domain, entry.version) for entry in half.opset_import] == [("", 20)] and half.ir_version == 9
    assert [entry.name for entry in half.graph.input] == ["input"]
    assert [entry.name for entry in half.graph.output] == ["latents"]
    np.testing.assert_allclose(run(half, items(7, 6)), run(given_model, items(7, 6)), rtol=1e-5)
    assert given_model.SerializeToString() == before, "what was given is not changed"
    check_model(half.SerializeToString(), "half")


def test_dropout_functions_unused_outputs_and_notes_are_gone():
    text = """half (float[N, 6] x) => (float[N, 3] mean, float[N, 3] spread)
    { a = own.Twice(x) b, mask = Dropout(a) mean = MatMul(b, w) c = MatMul(b, v) spread = Exp(c) }
    <domain: "own", opset_import: ["": 20]> Twice (x) => (y) { y = Add(x, x) }"""
    model = model_of(text, domains=', "own": 1', w=weight(6, 3), v=weight(6, 3, seed=2), unread=weight(99, 99))
    model.doc_string, model.producer_name = "/home/someone/train.py", "someone"
    half = prepared(model, "encoder", output="mean")
    assert [node.op_type for node in half.graph.node] == ["Add", "MatMul"]
    assert [list(entry.dims) for entry in half.graph.initializer] == [[6, 3]]
    assert b"someone" not in half.SerializeToString()
    np.testing.assert_allclose(run(half, items(4, 6)), run(model, items(4, 6)), rtol=1e-5)
    assert prepared(model, "encoder", output=1).graph.node[-1].op_type == "Exp"


def test_constants_become_weights_that_quantization_finds_and_nodes_have_names():
    text = """half (float[N, 6] x) => (float[N, 3] y) {
    k = Constant<value = float[3, 6] {%s}>() t = Transpose<perm = [1, 0]>(k) y = MatMul(x, t) }"""
    half = prepared(model_of(text % ", ".join(map(str, weight(18)))), "encoder")
    assert [node.op_type for node in half.graph.node] == ["MatMul"] and half.graph.node[0].name
    assert half.graph.node[0].input[1] in {entry.name for entry in half.graph.initializer}


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_floats_get_casts(dtype):
    text = f"half ({dtype}[N, 6] x) => ({dtype}[N, 3] y) {{ y = MatMul(x, w) }}"
    numbers = {"double": np.float64, "float16": np.float16}[dtype]
    half = prepared(model_of(text, w=weight(6, 3).astype(numbers)), "decoder")
    result = run(half, items(4, 6))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, items(4, 6) @ weight(6, 3), atol=2e-3)


def test_names_inside_that_codecs_use_give_way():
    text = """half (float[N, 6] latents) => (float[N, 3] input)
    { output = MatMul(latents, w) quality = Relu(output) input = Tanh(quality) }"""
    half = prepared(model_of(text, w=weight(6, 3)), "encoder")
    inside = {name for node in half.graph.node for name in node.output}
    assert inside & {"input", "output", "quality"} == set()
    np.testing.assert_allclose(run(half, items(4, 6)), np.tanh(np.maximum(items(4, 6) @ weight(6, 3), 0)), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_a_half_made_for_one_number_of_items_takes_any(count):
    text = f"""half (float[{count}, 2, 3] x) => (float[{count}, 3] y) {{ a = Reshape(x, s) y = MatMul(a, w) }}"""
    model = model_of(text, w=weight(6, 3), s=np.array([count, 6]))
    half = prepared(model, "encoder")
    wanted = items(7, 2, 3).reshape(7, 6) @ weight(6, 3)
    np.testing.assert_allclose(run(half, items(7, 2, 3)), wanted, rtol=1e-4, atol=1e-5)
    unrolled = model_of(text.replace("s)", "r)"), w=weight(6, 3), r=np.array([count, -1]))
    np.testing.assert_allclose(run(prepared(unrolled, "encoder"), items(7, 2, 3)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "h (float[N, 6] x) => (float[N, 6] y) { m = ReduceMean<keepdims = 1>(x, zero) y = Sub(x, m) }",
            "each alone",
        ),
        ("half (float[1, 6] x) => (float[1, 6] y) { y = Concat<axis = 0>(x) z = Concat<axis = 0>(x, x) }", None),
        (
            "h (float[N, 6] x) => (float[1, 6] y) { y = ReduceSum<keepdims = 1>(x, zero) }",
            r"become \[3, 6\]",
        ),
        ("half (float[1, 6] x) => (float[1, 6] y) { a = Add(x, pos) y = Concat<axis = 0>(a) }", "fails|become"),
    ],
    ids=["mean over items", "dead node", "sum over items", "a row for one item"],
)
def test_items_must_not_see_one_another(text, why):
    model = model_of(text, zero=np.array([0]), pos=weight(1, 6) if "pos" not in text else weight(3, 6)[:1])
    if "pos" in text:
        model = model_of(text.replace("float[1", "float[3"), pos=weight(3, 6))
    if why is None:
        prepared(model, "encoder")
        return
    with pytest.raises(HalfError, match=why) as raised:
        prepared(model, "encoder")
    assert raised.value.half == "encoder" and "varies" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("h (int64[N, 6] x) => (float[N, 6] y) { y = Cast<to = 1>(x) }", HalfError, r"floats .* 'x': int64 \['N', 6\]"),
        ("h (float[6] x) => (float[6] y) { y = Relu(x) }", HalfError, r"\[N, \.\.\.\]"),
        ("h (float[N, 6] x, float[N, 6] t) => (float[N, 6] y) { y = Add(x, t) }", HalfError, "one input, found .*'t'"),
        ("h (float[N, 6] x) => (int64[N, 6] y) { y = Cast<to = 7>(x) }", HalfError, "expected floats from the decoder"),
        ("h (float[N, 6] x) => (float[N, 6] a, float[N, 6] b) { a = Relu(x) b = Tanh(x) }", OutputChoiceError, "0: "),
        ("h (float[N, 6] x) => (float[N, 6] y) { r = RandomNormalLike(x) y = Add(x, r) }", SamplingError, "latent="),
        ("h (float[N, 6] x) => (float[N, 6] y) { y, m = Dropout(x, ratio, on) }", HalfError, "training mode"),
        ("h (float[N, 6] x) => (float[N, 6] y) { c = ReduceMax<keepdims = 0>(x) d = Greater(c, half) "
         "y = If(d)<then_branch = t () => (float[N, 6] a) { a = Relu(x) }, "
         "else_branch = e () => (float[N, 6] b) { b = Tanh(x) }> }", HalfError, "found 'If'"),
        ("h (float[N, 6] x) => (float[N, 6] y) { y = com.microsoft.Gelu(x) }", HalfError, "com.microsoft.Gelu"),
        ("h (float[N, 6] x) => (float[N, 6] y) { y = MatMul(x, narrow) }", HalfError, "cannot load|fails|where"),
    ],
)  # fmt: skip
def test_what_no_codec_can_be_made_of_is_named(text, error, message):
    weights = {"ratio": np.float32(0.5), "half": np.float32(0.5), "on": np.array(True), "narrow": weight(5, 6)}
    model = model_of(text, domains=', "com.microsoft": 1', **weights)
    with pytest.raises(error, match=message):
        prepared(model, "decoder")


def test_an_output_that_is_not_there_is_named():
    for output in (3, "z", -2):
        with pytest.raises(OutputChoiceError, match=r"0: 'y': float32 \['N', 3\]"):
            prepared(model_of(PLAIN, w=weight(6, 3)), "encoder", output=output)


def test_weights_beside_the_file_are_read_and_missed(tmp_path: Path):
    model = model_of(PLAIN, w=weight(6, 3))
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    read = read_half(tmp_path / "e.onnx", "encoder")
    np.testing.assert_array_equal(numpy_helper.to_array(read.graph.initializer[0]), weight(6, 3))
    with pytest.raises(HalfError, match="in another file"):
        read_half(onnx.load(tmp_path / "e.onnx", load_external_data=False), "encoder")
    (tmp_path / "e.bin").unlink()
    with pytest.raises(HalfError, match="beside"):
        read_half(tmp_path / "e.onnx", "encoder")
    (tmp_path / "e.onnx").write_bytes(b"no model")
    with pytest.raises(HalfError, match="ONNX"):
        read_half(tmp_path / "e.onnx", "encoder")
    with pytest.raises(HalfError, match="none at"):
        read_half(tmp_path / "f.onnx", "encoder")


def test_scaling_goes_around_a_half():
    half = prepared(model_of(PLAIN, w=weight(6, 3)), "encoder")
    whole = with_scaling(
        half,
        Ends((ir.DataType.UINT8, ["items", 6]), (ir.DataType.FLOAT, ["items", 3])),
        before=lambda op, value: op.Div(op.Cast(value, to=1), 255.0),
        after=lambda op, value: op.Mul(value, 2.0),
    )
    bytes_in = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)
    np.testing.assert_allclose(run(whole, bytes_in), 2 * (bytes_in / 255).astype(np.float32) @ weight(6, 3), rtol=1e-5)
    dims = [[dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in whole.graph.input]
    assert dims == [["items", 6]]
    plain = with_scaling(half, Ends((ir.DataType.FLOAT, ["items", 6]), (ir.DataType.FLOAT, ["items", 3])))
    np.testing.assert_array_equal(run(plain, items(5, 6)), run(half, items(5, 6)))


def test_half_precision_keeps_float32_outside_and_inside_where_onnx_wants_it():
    text = """half (float[N, 3, 4, 4] x) => (float[N, 2, 8, 8] y)
    { a = Conv<pads = [1, 1, 1, 1]>(x, w) b = Resize<mode = "nearest">(a, , scales) y = Tanh(b) }"""
    half = prepared(model_of(text, w=weight(2, 3, 3, 3), scales=np.array([1, 1, 2, 2], np.float32)), "decoder")
    narrow = in_half_precision(half, "decoder")
    assert {e.name: e.data_type for e in narrow.graph.initializer}["w"] == TensorProto.FLOAT16
    wanted, found = run(half, items(3, 3, 4, 4)), run(narrow, items(3, 3, 4, 4))
    assert found.dtype == np.float32 and 0 < np.abs(found - wanted).max() < 5e-3
    with pytest.raises(HalfError, match="beyond"):
        in_half_precision(prepared(model_of(PLAIN, w=weight(6, 3) * 1e6), "encoder"), "encoder")


def decoders() -> dict[str, tuple[nn.Module, np.ndarray]]:
    torch.manual_seed(0)
    channel_scales = np.geomspace(0.1, 10, 12).astype(np.float32)
    return {
        "linear": (nn.Linear(12, 30), items(200, 12) * channel_scales),
        "tanh": (nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 30), nn.Sigmoid()), items(400, 12)),
        "conv": (
            nn.Sequential(nn.ConvTranspose2d(6, 8, 4, 2, 1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1)),
            items(64, 6, 5, 5) + 1,
        ),
        "relu, a dead channel": (
            nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 30)),
            items(400, 12) * np.array([0] + [1] * 11, np.float32),
        ),
    }


@pytest.mark.parametrize("name", list(decoders()))
def test_probes_find_the_sensitivity_that_gradients_find(name):
    decoder, latents = decoders()[name]

    def rows(values):
        return values.reshape(len(values), values.shape[1], -1).swapaxes(1, 2).reshape(-1, values.shape[1])

    exact = by_gradients(decoder, torch.tensor(latents), rows, probes=256)

    def decode(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return decoder(torch.tensor(values)).numpy()

    found = sensitivity(decode, latents, rows)
    assert found.shape == (latents.shape[1],) and found.dtype == np.float64
    np.testing.assert_allclose(found, exact, rtol=0.1)
    np.testing.assert_array_equal(found, sensitivity(decode, latents, rows), err_msg="the same seed, the same result")


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 9), scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), seed=st.integers(0, 99))
def test_of_a_linear_decoder_the_sensitivity_is_exact(channels, scale, offset, seed):
    matrix = weight(channels, 7, seed=seed)
    latents = (items(40, channels, seed=seed) + np.float32(offset)) * np.float32(scale)
    found = sensitivity(lambda values: values.astype(np.float64) @ matrix, latents, lambda values: values, samples=16)
    np.testing.assert_allclose(found, np.square(matrix, dtype=np.float64).sum(1), rtol=1e-3)


def test_probing_costs_no_more_runs_than_it_says():
    sizes = []

    def decode(values: np.ndarray) -> np.ndarray:
        sizes.append(len(values))
        return values

    sensitivity(decode, items(300, 1024), lambda values: values, samples=64)
    assert sum(sizes) == 1 + 2 * 1024 * 64
    assert max(sizes) * 1024 <= 1 << 22, "in batches that memory has room for"
