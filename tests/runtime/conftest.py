"""Codecs without any learning in them."""

from pathlib import Path

import pytest
from plain_codecs import write_pictures, write_windows


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``encoder.onnx`` and ``decoder.onnx`` of a codec of pictures that loses nothing."""
    return write_pictures(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a codec of windows int16 [N, 8, 2], of a family that nobody has registered."""
    return write_windows(tmp_path_factory.mktemp("windows"))
