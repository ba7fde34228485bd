"""Integer layers of the graph against NumPy's int64 and against the torch layers that they are made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.export.graph import integer
from latentwire.export.graph.builder import FLOAT, INT32, UINT8, build_model, table, value
from latentwire.export.graph.integer import Layer
from latentwire.export.image.integers import layer_of
from latentwire.export.image.tables import Network
from latentwire.export.measure import session
from latentwire.export.verify import LEVELS
from latentwire.train.image.integer import IntegerConv, context_features, hyper_features


def random_layer(size: int, stride: int, zero: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer(
        "layer",
        rng.integers(-63, 64, (7, 5, size, size)).astype(np.int8),
        rng.integers(-20000, 20000, 7).astype(np.int32),
        (2 ** rng.integers(0, 12, 7)).astype(np.int32),
        stride,
        zero,
    )


def numpy_sums(layer: Layer, picture: np.ndarray) -> np.ndarray:
    """Sums of products and bias, int64 [h', w', out], of bytes [h, w, in]."""
    before = (layer.size - layer.stride + 1) // 2
    after = layer.size - layer.stride - before
    values = np.pad(picture.astype(np.int64) - layer.zero, [(before, after), (before, after), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(values, (layer.size, layer.size), (0, 1))
    windows = windows[:: layer.stride, :: layer.stride]
    return np.einsum("hwikl,oikl->hwo", windows, layer.weight.astype(np.int64)) + layer.bias


def half_even(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The nearest integer to a quotient of integers, of two the even one, in integers alone."""
    floor, rest = np.divmod(numerator, denominator)
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (floor % 2 == 1))
    return floor + up


def run(trace, picture: np.ndarray, outputs: list, **options) -> list[np.ndarray]:
    model = build_model(trace, [value("x", UINT8, [1, "h", "w", 5])], outputs, "layer")
    return session(model, **options).run(None, {"x": picture[None]})


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (3, 1), (3, 2), (4, 2)]),
    zero=st.sampled_from([0, 128]),
    blocks=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 999),
    level=st.sampled_from(sorted(LEVELS)),
)
def test_layers_are_exact(shape, zero, blocks, seed, level):
    size, stride = shape
    layer = random_layer(size, stride, zero, seed)
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (2 * blocks[0], 2 * blocks[1], 5)).astype(np.uint8)
    addend = rng.integers(-500, 500, 7).astype(np.int32)
    sums, products = numpy_sums(layer, picture), size == 1 and not zero

    def trace(op, source):
        plain, moved, whole = (replace(layer, name=name) for name in ("plain", "moved", "whole"))
        found = [integer.activation(op, plain, source, zero=100)]
        if products:
            own = table(op, addend.astype(np.float32), "addend")
            found += [integer.rows(op, moved, source, own, 16, 57), integer.whole_numbers(op, whole, source)]
        return found

    outputs = [value(name, UINT8, [1, "p", "q", 7]) for name in (("y", "z") if products else ("y",))]
    outputs += [value("n", FLOAT, [1, "p", "q", 7])] if products else []
    found = run(trace, picture, outputs, level=LEVELS[level])
    np.testing.assert_array_equal(found[0][0], np.clip(half_even(sums, layer.divisor) + 100, 0, 255))
    if products:
        moved, steps = sums + addend * layer.divisor.astype(np.int64), 16 * layer.divisor
        np.testing.assert_array_equal(found[1][0], np.clip((2 * moved + steps) // (2 * steps), 0, 57))
        np.testing.assert_array_equal(found[2][0], (2 * sums + layer.divisor) // (2 * layer.divisor))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (4, 2)])
def test_a_trained_layer_gives_the_graphs_integers(size, stride):
    torch.manual_seed(size)
    convolution = IntegerConv(5, 7, size, stride=stride)
    picture = np.random.default_rng(1).integers(0, 256, (6, 8, 5)).astype(np.uint8)
    with torch.no_grad():
        wanted = convolution(torch.tensor(picture).permute(2, 0, 1)[None].float() / 16, exact=True) * 16
    layer = layer_of(convolution, "layer")
    outputs = [value("y", UINT8, [1, "p", "q", 7])]
    (found,) = run(lambda op, source: [integer.activation(op, layer, source)], picture, outputs)
    np.testing.assert_array_equal(found[0], wanted[0].permute(1, 2, 0).numpy())


def test_weights_of_more_than_six_bits_are_refused():
    with pytest.raises(ValueError, match="saturate"):
        Layer("wide", np.full((2, 4, 1, 1), 64, np.int8), np.zeros(2, np.int32), np.ones(2, np.int32))


def test_sums_that_float32_cannot_hold_are_refused():
    layer = Layer("deep", np.full((1, 1000, 1, 1), 63, np.int8), np.zeros(1, np.int32), np.ones(1, np.int32))
    with pytest.raises(ValueError, match="deep: sums may reach 17113576, float32 is exact below 16777216"):
        Network((layer,), ())


def test_features_of_decoded_latents_are_those_of_training():
    values = np.random.default_rng(0).integers(-4000, 4000, (1, 5, 10, 6)).astype(np.float32)

    def trace(op, source):
        return list(integer.squashed_parts(op, source))

    outputs = [value(name, UINT8, [1, "h", "w", 6]) for name in ("size", "positive")]
    model = build_model(trace, [value("x", FLOAT, [1, "h", "w", 6])], outputs, "features")
    found = np.concatenate(session(model).run(None, {"x": values}), 3)
    wanted = context_features(torch.tensor(values / 16).permute(0, 3, 1, 2), exact=True) * 16
    np.testing.assert_array_equal(found, wanted.permute(0, 2, 3, 1).numpy())


def test_features_of_latents_are_those_of_training():
    values = np.random.default_rng(0).normal(0, 900, (1, 5, 10, 32)).astype(np.float32)
    inputs, outputs = [value("x", FLOAT, [1, "h", "w", 32])], [value("size", UINT8, [1, "h", "w", 32])]
    model = build_model(lambda op, source: [integer.squash(op, op.Abs(source))], inputs, outputs, "features")
    wanted = hyper_features(torch.tensor(values / 16).permute(0, 3, 1, 2), exact=True)[:, :32] * 16
    np.testing.assert_array_equal(session(model).run(None, {"x": values})[0], wanted.permute(0, 2, 3, 1).numpy())


def test_a_pixel_shuffle_is_torchs():
    values = np.arange(2 * 3 * 8).astype(np.int32).reshape(1, 2, 3, 8)

    def trace(op, source):
        return [integer.pixel_shuffle(op, source, op.Constant(value_ints=[2]), op.Constant(value_ints=[3]), 2)]

    model = build_model(trace, [value("x", INT32, [1, 2, 3, 8])], [value("y", INT32, [1, "h", "w", 2])], "shuffle")
    found = session(model).run(None, {"x": values})[0]
    blocks = torch.tensor(values.reshape(2, 3, 2, 2, 2)).permute(4, 2, 3, 0, 1).reshape(1, 8, 2, 3)
    np.testing.assert_array_equal(found[0], torch.pixel_shuffle(blocks, 2)[0].permute(1, 2, 0).numpy())
