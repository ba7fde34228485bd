"""The two seed programs' presets against what the programs themselves reach on MNIST's test images.

    python benchmarks/seed_presets.py [FOLDER WITH MNIST'S FILES]

Ten epochs of each, a minute or two in all on one core. Without an argument the folder is `$LATENTWIRE_DATA/mnist`. The
last line is the seed's second program as it is written: inputs in [-1, 1] into a decoder that ends in a sigmoid.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from latentwire.train import DataRequest, Dataset, Split, dense_recipe, load_run, load_split, train
from latentwire.train.dense import TORCH, DenseAutoencoder

# Test error of the programs, with inputs in [0, 1] and with the second one's own scaling.
MEASURED = {"keras": 0.0125, "torch": 0.0064}
MEASURED_AS_WRITTEN = 0.93


def main() -> None:
    """Trains both presets and prints a table."""
    default = Path(os.environ.get("LATENTWIRE_DATA", "."), "mnist")
    split = load_split(DataRequest(str(Path(sys.argv[1]) if len(sys.argv) > 1 else default)))
    print(f"{'program':<20}{'seed, test MSE':>16}{'preset, test MSE':>18}{'dead code units':>17}")
    for preset, seed_error in MEASURED.items():
        error, dead = _preset(preset, split)
        print(f"{preset:<20}{seed_error:>16.4f}{error:>18.5f}{dead:>17}", flush=True)
    print(f"{'torch, as written':<20}{MEASURED_AS_WRITTEN:>16.2f}{_as_written(split):>18.3f}")


def _preset(name: str, split: Split) -> tuple[float, int]:
    """Test error of a preset, and how many of its code units are zero for every test item."""
    assert split.validation is not None
    with tempfile.TemporaryDirectory() as folder:
        recipe = dense_recipe(name, item_shape=split.train.item_shape)
        document = train(recipe, split, Path(folder))
        codes = load_run(folder).encoder(_all(split.validation))
    return document["metrics"]["validation"]["mse"], int((codes == 0).all(0).sum())


def _as_written(split: Split) -> float:
    """One epoch of the seed's second program with its own scaling: it does not get better after that."""
    assert split.validation is not None
    network = DenseAutoencoder(TORCH, split.train.item_shape)
    network.start(torch.zeros(1, 784), Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    order = np.random.default_rng(0).permutation(len(split.train))
    for start in range(0, len(order), 128):
        batch = 2 * split.train.batch(order[start : start + 128]) - 1
        optimizer.zero_grad()
        (network(batch) - batch).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        held_out = 2 * _all(split.validation) - 1
        return (network(held_out) - held_out).square().mean().item()


def _all(items: Dataset) -> Tensor:
    return items.batch(np.arange(len(items)))


if __name__ == "__main__":
    main()
