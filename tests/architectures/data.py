"""Real digits and structured signals, small and the same each time."""

import functools

import numpy as np
from sklearn.datasets import load_digits

COUNT = 480


@functools.cache
def digits() -> np.ndarray:
    """uint8 [N, 1, 8, 8]: scikit-learn's digits, their 17 grey levels spread over 0..240."""
    return (load_digits().images[:COUNT, None] * 15).astype(np.uint8)


@functools.cache
def large_digits() -> np.ndarray:
    """uint8 [N, 1, 28, 28], as MNIST's are."""
    return np.pad(np.kron(digits(), np.ones((1, 1, 3, 3), np.uint8)), ((0, 0), (0, 0), (2, 2), (2, 2)))


@functools.cache
def colours() -> np.ndarray:
    """uint8 [N, 3, 16, 16]: digits in a colour on a background of another, each with a gradient."""
    rng = np.random.default_rng(3)
    shape = np.kron(digits() / 240, np.ones((1, 1, 2, 2)))
    ink, paper = rng.uniform(0.4, 1, (2, COUNT, 3, 1, 1)) * [[[[[1.0]]]], [[[[0.5]]]]]
    slope = 1 - 0.3 * np.linspace(0, 1, 16)
    return np.rint(255 * (shape * ink + (1 - shape) * paper) * slope).astype(np.uint8)


@functools.cache
def signals() -> np.ndarray:
    """float32 [N, 32, 4], [items, time, channels]: two oscillators, seen by four sensors with gains and delays."""
    rng = np.random.default_rng(5)
    time = np.arange(32) / 32
    frequency = rng.uniform(1, 3, (COUNT, 2, 1))
    phase = rng.uniform(0, 2 * np.pi, (COUNT, 2, 1))
    level = rng.uniform(0.3, 1, (COUNT, 2, 1))
    waves = [level * np.sin(2 * np.pi * frequency * (time - delay) + phase) for delay in (0, 0.02, 0.05, 0.09)]
    gain = rng.uniform(0.5, 1, (4, 2))
    seen = np.stack([np.einsum("nst,s->nt", wave, weight) for wave, weight in zip(waves, gain, strict=True)], axis=-1)
    return (seen + 0.02 * rng.normal(size=seen.shape)).astype(np.float32)


def unit(items: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [0, 1]."""
    return (items / np.float32(255)).astype(np.float32)


def both_signs(items: np.ndarray) -> np.ndarray:
    """uint8 as float32 in [-1, 1]."""
    return unit(items) * 2 - 1
