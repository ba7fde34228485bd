"""Integer layers of the graph against NumPy's int64 and against the torch layers that they are made from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.export.graph import integer
from latentwire.export.graph.builder import INT32, UINT8, build_model, value
from latentwire.export.graph.integer import Layer
from latentwire.export.image.integers import layer_of
from latentwire.export.measure import session
from latentwire.train.image.integer import IntegerConv, context_features


def random_layer(size: int, stride: int, zero: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer(
        "layer",
        rng.integers(-63, 64, (size * size * 5, 7)).astype(np.int8),
        rng.integers(-20000, 20000, 7).astype(np.int32),
        (2 ** rng.integers(0, 12, 7)).astype(np.int32),
        size,
        stride,
        zero,
    )


def numpy_sums(layer: Layer, picture: np.ndarray) -> np.ndarray:
    """Sums of products without bias, int64 [h' * w', out]."""
    before = (layer.size - layer.stride + 1) // 2
    after = layer.size - layer.stride - before
    values = np.pad(picture.astype(np.int64) - layer.zero, [(before, after), (before, after), (0, 0)])
    rows = [
        values[y : y + layer.size, x : x + layer.size].ravel()
        for y in range(0, picture.shape[0], layer.stride)
        for x in range(0, picture.shape[1], layer.stride)
    ]
    return np.stack(rows) @ layer.weight.astype(np.int64)


def run(layer: Layer, picture: np.ndarray, signed: bool) -> np.ndarray:
    def trace(op, source):
        rows = op.Reshape(source, [-1, picture.shape[-1]]) if layer.size == 1 else source
        if signed:
            return [integer.signed(op, layer, integer.products(op, layer, rows))]
        return [integer.activation(op, layer, rows)]

    dtype = INT32 if signed else UINT8
    model = build_model(trace, [value("x", UINT8, ["h", "w", 5])], [value("y", dtype, ["p", 7])], "layer")
    return session(model).run(None, {"x": picture})[0]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (3, 1), (3, 2), (4, 2)]),
    zero=st.sampled_from([0, 128]),
    blocks=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 999),
)
def test_layers_are_exact(shape, zero, blocks, seed):
    size, stride = shape
    layer = random_layer(size, stride, zero, seed)
    picture = np.random.default_rng(seed).integers(0, 256, (2 * blocks[0], 2 * blocks[1], 5)).astype(np.uint8)
    sums = numpy_sums(layer, picture) + layer.bias + layer.divisor // 2
    np.testing.assert_array_equal(run(layer, picture, signed=True), np.floor_divide(sums, layer.divisor))
    np.testing.assert_array_equal(run(layer, picture, signed=False), np.clip(sums // layer.divisor, 0, 255))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (4, 2)])
def test_a_trained_layer_gives_the_graphs_integers(size, stride):
    torch.manual_seed(size)
    convolution = IntegerConv(5, 7, size, stride=stride)
    picture = np.random.default_rng(1).integers(0, 256, (6, 8, 5)).astype(np.uint8)
    with torch.no_grad():
        wanted = convolution(torch.tensor(picture).permute(2, 0, 1)[None].float() / 16, exact=True) * 16
    found = run(layer_of(convolution, "layer"), picture, signed=False)
    np.testing.assert_array_equal(found, wanted[0].permute(1, 2, 0).reshape(-1, 7).numpy())


def test_weights_of_more_than_six_bits_are_refused():
    with pytest.raises(ValueError, match="saturate"):
        Layer("wide", np.full((4, 2), 64, np.int8), np.zeros(2, np.int32), np.ones(2, np.int32))


def test_features_of_decoded_latents_are_those_of_training():
    values = np.random.default_rng(0).integers(-4000, 4000, (50, 6)).astype(np.int32)

    def trace(op, source):
        return list(integer.squashed_parts(op, source))

    outputs = [value(name, UINT8, ["p", 6]) for name in ("size", "positive")]
    model = build_model(trace, [value("x", INT32, ["p", 6])], outputs, "features")
    found = np.concatenate(session(model).run(None, {"x": values}), 1)
    wanted = context_features(torch.tensor(values / 16).float().T[None, :, :, None], exact=True) * 16
    np.testing.assert_array_equal(found, wanted[0, :, :, 0].T.numpy())


def test_a_pixel_shuffle_is_torchs():
    values = np.arange(2 * 3 * 8).astype(np.uint8).reshape(6, 8)

    def trace(op, source):
        return [integer.pixel_shuffle(op, source, op.Constant(value_ints=[2]), op.Constant(value_ints=[3]), 2)]

    model = build_model(trace, [value("x", UINT8, [6, 8])], [value("y", UINT8, ["h", "w", 2])], "shuffle")
    found = session(model).run(None, {"x": values})[0]
    blocks = torch.tensor(values.reshape(2, 3, 2, 2, 2)).permute(4, 2, 3, 0, 1).reshape(1, 8, 2, 3)
    np.testing.assert_array_equal(found, torch.pixel_shuffle(blocks, 2)[0].permute(1, 2, 0).numpy())
