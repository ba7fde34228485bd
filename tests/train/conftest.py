"""Real digits that come with scikit-learn: 1797 of 8x8 pixels, 17 grey levels."""

import pytest
from sklearn.datasets import load_digits

from latentwire.train import Dataset, Split, from_array, split


@pytest.fixture(scope="session")
def digits() -> Dataset:
    bunch = load_digits()
    return from_array(bunch.images.astype("uint8"), (0, 16), bunch.target)


@pytest.fixture(scope="session")
def halves(digits: Dataset) -> Split:
    return split(digits, 0.2, seed=1)
