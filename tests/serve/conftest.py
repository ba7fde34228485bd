"""Real packets of the ready codecs."""

import numpy as np
import pytest

from latentwire.runtime import Encoder


@pytest.fixture(scope="session")
def mnist() -> Encoder:
    return Encoder("mnist")


@pytest.fixture(scope="session")
def photo() -> Encoder:
    return Encoder("photo")


@pytest.fixture(scope="session")
def strokes() -> np.ndarray:
    """Something like digits: uint8 [64, 784]."""
    across = np.linspace(-3, 3, 28)
    rows = []
    for number in range(64):
        bend, lean = np.sin(number), np.cos(2 * number)
        curve = across[None] * lean + bend * across[:, None] ** 2 / 2 - bend
        rows.append((255 * np.exp(-3 * curve**2)).astype(np.uint8).ravel())
    return np.stack(rows)


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """A smooth picture: uint8 [48, 64, 3]."""
    down, across = np.mgrid[0:48, 0:64]
    return np.stack([128 + 100 * np.sin(down / k) * np.cos(across / (k + 2)) for k in (5, 7, 11)], -1).astype(np.uint8)


@pytest.fixture(scope="session")
def packet(mnist: Encoder, strokes: np.ndarray) -> bytes:
    """Four items."""
    return mnist.encode(strokes[:4], 100)


@pytest.fixture(scope="session")
def picture(photo: Encoder, scene: np.ndarray) -> bytes:
    return photo.encode(scene, 100)
