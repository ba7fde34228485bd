"""What the image family fits to pictures, on counts whose answer is plain."""

import numpy as np
import pytest
from PIL import Image
from small_images import picture, small_network

from latentwire.export.family import ExportRequest
from latentwire.export.image import family
from latentwire.export.image.fit import (
    HIGHEST,
    MAGNITUDES,
    SPARED,
    TRAINED,
    Measured,
    fit_tables,
    rounding_by_row,
    row_shares,
    signed_entropy,
    worth_coding,
)
from latentwire.train.image.prior import ROWS
from latentwire.train.image.run import write_run

BIT = 0.05
LOW = 6
"""Rows of few 1s."""


def measured(worth: float) -> Measured:
    """`LOW` rows of 1000 zeros and 10 ones, of which the highest gains a share of all bits; 8-valued rows above."""
    magnitudes = np.zeros((ROWS, MAGNITUDES + 1))
    magnitudes[:LOW, :2] = 1000, 10
    magnitudes[LOW:, :8] = 1000
    bits = np.array([signed_entropy(row_shares(row, at)) for at, row in enumerate(magnitudes)]) * magnitudes.sum(1)
    saved = np.where(np.arange(ROWS) < LOW, 0.5 * BIT * bits, 20 * BIT * bits)
    saved[LOW - 1] = BIT * (bits[LOW - 1] + worth * bits.sum())
    return Measured(magnitudes, saved, np.zeros((1, 1, 3)))


@pytest.mark.parametrize(("worth", "first"), [(0.0, LOW), (0.9 * SPARED, LOW), (1.1 * SPARED, LOW - 1)])
def test_the_lowest_rows_are_left_out_while_they_gain_little(worth, first):
    assert worth_coding(measured(worth), BIT) == first


@pytest.mark.parametrize("bit", [0.05, 0.09, 0.2])
def test_a_one_is_sent_where_it_saves_enough_of_the_squared_error(bit):
    """Offsets just beyond the threshold take off `bit` for each bit that they cost, those just below do not."""
    shares = np.array([row_shares(np.zeros(MAGNITUDES + 1), row) for row in range(ROWS)])
    threshold = 1 - rounding_by_row(shares, bit).astype(np.float64)
    more_bits = np.log2(shares[:, 0]) - np.log2(shares[:, 1] / 2)
    free = (threshold < 1) & (threshold > 1 - HIGHEST + 1e-6)
    assert free.sum() > 10
    np.testing.assert_allclose((2 * threshold - 1)[free], bit * more_bits[free], rtol=1e-4)
    assert (np.diff(threshold) <= 0).all()
    assert threshold[-1] == pytest.approx(1 - HIGHEST)


def test_only_the_squared_error_decides_on_symbols():
    network, pictures = small_network(), [picture(128, 128, seed=3)]
    squared, similar = (fit_tables(network, pictures, kind) for kind in ("mse", "ms-ssim"))
    assert (similar.rounding == np.float32(TRAINED)).all()
    assert squared.rounding.min() < TRAINED - 0.05
    assert squared.rounding.max() == np.float32(HIGHEST)


def test_shares_are_what_was_found_with_a_little_of_the_rows_logistic():
    nothing, found = np.zeros(MAGNITUDES + 1), np.zeros(MAGNITUDES + 1)
    found[3] = 1e6
    for row in (1, 20, ROWS - 1):
        prior = row_shares(nothing, row)
        assert prior.sum() == pytest.approx(1)
        assert (np.diff(prior[1:-1]) <= 0).all()
        assert row_shares(found, row)[3] == pytest.approx(1, abs=1e-4)
    spread = [row_shares(nothing, row)[0] for row in range(1, ROWS)]
    assert (np.diff(spread) < 0).all()
    assert row_shares(nothing, ROWS - 1)[-1] > 1e-4


def test_a_run_is_exported_for_what_it_was_trained_for(tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        Image.fromarray(picture(64, 64, seed=seed)).save(photos / f"{seed}.png")
    known = {"data": {"train": str(photos), "validation": None}, "settings": {"distortion": "ms-ssim"}}
    write_run(tmp_path / "run", small_network(), known)
    seen = {}
    monkeypatch.setattr(family, "export_image", lambda *_, **settings: seen.update(settings))
    family.FAMILY.export_run(tmp_path / "run", tmp_path / "out", ExportRequest())
    assert seen["distortion"] == "ms-ssim"
