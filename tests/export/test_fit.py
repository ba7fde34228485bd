"""Fitting tables: steps from sensitivity, dead zone, skip, clustering, 12-bit frequencies."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from latentwire.export.factorized import fit
from latentwire.export.factorized.tables import escape_bits
from latentwire.export.factorized.torch_reference import sensitivity
from latentwire.export.image.fit import one_sided


def laplacian(rows: int, scales: list[float], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).laplace(size=(rows, len(scales)))
    return (noise * np.asarray(scales)).astype(np.float32)


def test_sensitivity_of_a_linear_decoder_is_its_squared_column_norm():
    decoder = nn.Linear(5, 300)
    with torch.no_grad():
        decoder.weight.mul_(torch.tensor([0.0, 0.5, 1.0, 2.0, 4.0]))
    found = sensitivity(decoder, torch.randn(400, 5), lambda rows: rows)
    exact = decoder.weight.square().sum(0).detach().numpy()
    np.testing.assert_allclose(found, exact, rtol=0.15, atol=1e-9)


def test_steps_spread_distortion_evenly_and_run_from_coarse_to_fine():
    rows = laplacian(4000, [1, 2, 4])
    steps = fit.fit_steps(rows, np.array([4.0, 1.0, 0.25]), own_error=1.0)
    assert steps.shape == (256, 3)
    assert (np.diff(steps, axis=0) < 0).all()
    np.testing.assert_allclose(steps[100] ** 2 * [4.0, 1.0, 0.25], steps[100, 1] ** 2, rtol=1e-5)
    finest = (steps[255] ** 2 * [4.0, 1.0, 0.25] / 12).sum()
    assert finest == pytest.approx(fit.FINEST_ERROR, rel=1e-3)


def test_a_dead_channel_is_never_coded_and_comes_back_as_its_constant():
    rows = laplacian(3000, [1, 0, 1])
    rows[:, 1] = 0.7
    steps = np.repeat(np.geomspace(3, 0.05, 256)[:, None], 3, 1).astype(np.float32)
    tables = fit.fit_tables(rows, steps).tables
    assert (tables.index[:, 1] == 0).all()
    assert (tables.index[200, [0, 2]] > 0).all()
    restored = tables.dequantize(tables.quantize(rows, 200), 200)
    np.testing.assert_allclose(restored[:, 1], 0.7, rtol=1e-6)


def test_tables_come_close_to_the_entropy_of_laplacian_latents():
    rows = laplacian(20000, [0.3, 1, 2, 4])
    steps = np.repeat(np.geomspace(4, 0.2, 256)[:, None], 4, 1).astype(np.float32)
    fitted = fit.fit_tables(rows, steps)
    assert fitted.clustering_loss < 0.01
    fresh = laplacian(20000, [0.3, 1, 2, 4], seed=1)
    for quality in (60, 128, 255):
        symbols = fitted.tables.quantize(fresh, quality)
        coded = fitted.tables.index[quality] > 0
        entropy = sum(fit.entropy(fit.count_symbols(symbols[:, [c]])[0]) for c in np.flatnonzero(coded))
        bits = fitted.tables.bits(symbols, quality).sum(1).mean()
        assert bits <= 1.015 * entropy


def test_a_dead_zone_is_chosen_where_it_pays():
    rows = laplacian(20000, [1.0])
    steps = np.geomspace(4, 0.01, 256).astype(np.float32)[:, None]
    tables = fit.fit_tables(rows, steps).tables
    assert tables.rounding[60] < 0.45
    assert tables.rounding[255] >= 0.45
    symbols = tables.quantize(rows, 60)
    plain = (symbols / tables.gain[60] + tables.centre - rows) ** 2
    assert np.square(tables.dequantize(symbols, 60) - rows).mean() < plain.mean()  # centroids, not bin centres


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(17)), elements=st.floats(0, 1e6)),
    st.integers(0, 16),
)
def test_frequencies_always_sum_to_4096_with_an_escape(shares, spike):
    shares[:, spike] += 1e-3
    frequency = fit.to_frequencies(shares / shares.sum(1, keepdims=True))
    assert (frequency.sum(1) == 4096).all()
    assert (frequency >= 0).all()
    assert (frequency[:, -1] >= 1).all()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(258)), elements=st.floats(0, 1e6)),
    st.sampled_from([0, 1, 40, 257]),
)
def test_frequencies_of_both_signs_sum_to_4096_with_zero_and_an_escape(shares, spike):
    shares[:, spike] += 1e-3
    frequency = one_sided(shares / shares.sum(1, keepdims=True))
    assert (frequency.sum(1) + frequency[:, 1:-1].sum(1) == 4096).all()
    assert (frequency >= 0).all()
    assert (frequency[:, [0, -1]] >= 1).all()


@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0, 150.0])
def test_frequencies_of_both_signs_cost_next_to_nothing(scale):
    edges = np.append(0, np.arange(258) + 0.5)
    tail = 2 / (1 + np.exp(np.minimum(edges / scale, 700)))
    shares = np.append(tail[:-1] - tail[1:], tail[-1])[None] / tail[0]
    frequency = one_sided(shares).astype(float) * np.array([1, *[2] * 257, 1])
    lengths = -np.log2(np.maximum(frequency, 2.0**-16) / 4096)  # an escape of two bytes
    assert 0 <= (shares * lengths).sum() / fit.entropy(shares)[0] - 1 < 0.006


@pytest.mark.parametrize("rows", [1, 257])
def test_a_table_size_that_the_index_cannot_name_is_refused(rows):
    with pytest.raises(ValueError, match=r"2\.\.256"):
        fit.fit_tables(laplacian(100, [1]), np.ones((256, 1), np.float32), rows)


@pytest.mark.parametrize(("symbol", "size"), [(0, 1), (-64, 1), (64, 2), (8191, 2), (-8193, 3), (1 << 30, 5)])
def test_escape_sizes(symbol, size):
    assert escape_bits(np.array([symbol]))[0] == 8 * size
