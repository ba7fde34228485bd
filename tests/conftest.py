"""Real data for all tests, and one small codec made of it."""

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from linear import principal_components
from matrix.environments import SkippedError
from sklearn.datasets import load_digits

from latentwire.export import Dense, export_codec
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.files import read_idx

CHANNELS = 10


@contextmanager
def skipping() -> Iterator[None]:
    """What needs a tool that is not there is skipped, and says which."""
    try:
        yield
    except SkippedError as fault:
        pytest.skip(str(fault))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Every test's body."""
    with skipping():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Every fixture's."""
    with skipping():
        return (yield)


@pytest.fixture(autouse=True)
def logging_as_found() -> Iterator[None]:
    """`serve` takes over the logging of its process, which is that of other tests when a test runs it in place."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """The digits that come with scikit-learn: uint8 [1797, 64], values 0..16."""
    return load_digits().data.astype(np.uint8)


@pytest.fixture(scope="session")
def mnist_test() -> np.ndarray:
    """MNIST's test images: uint8 [10000, 784]."""
    folder = os.environ.get("LATENTWIRE_DATA")
    if not folder:
        pytest.skip("LATENTWIRE_DATA names no folder that holds mnist/")
    return read_idx(Path(folder) / "mnist" / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)


@pytest.fixture(scope="session")
def bundle(digits: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a linear codec of the digits, fp32 and int8."""
    path = tmp_path_factory.mktemp("codec") / "digits"
    family = Dense(ItemContract("uint8", ("items", 64), (0, 16)), CHANNELS)
    encoder, decoder = principal_components(digits / 16, CHANNELS)
    export_codec((encoder, decoder), digits, path, family=family, precisions=("fp32", "int8"))
    return path
