"""The data that the presets were made for; benchmarks/seed_presets.py trains them to the end."""

import os
from pathlib import Path

import numpy as np
import pytest

from latentwire.train import DataRequest, dense_recipe, load_run, load_split, train

FOLDER = Path(os.environ.get("LATENTWIRE_DATA", "missing"), "mnist")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs $LATENTWIRE_DATA/mnist")


def test_mnist_is_read_whole() -> None:
    split = load_split(DataRequest(str(FOLDER)))
    assert split.validation is not None
    assert (len(split.train), len(split.validation), split.train.item_shape) == (60_000, 10_000, (28, 28))
    assert split.train.labels is not None and split.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert split.train.contract.to_json() == {"dtype": "uint8", "shape": ["items", 784], "range": [0, 255]}


@pytest.mark.slow
def test_a_short_run_of_each_preset_is_well_on_its_way(tmp_path: Path) -> None:
    """Test error after 24 000 items; the mean digit alone has 0.067."""
    split = load_split(DataRequest(str(FOLDER), limit=12_000))
    errors = {}
    for preset in ("keras", "torch"):
        recipe = dense_recipe(preset, item_shape=split.train.item_shape, loop={"epochs": 2})
        errors[preset] = train(recipe, split, tmp_path / preset)["metrics"]["validation"]["mse"]
    assert errors["keras"] < 0.067 and errors["torch"] < 0.04
    codes = load_run(tmp_path / "keras").encoder(split.train.batch(np.arange(1000)))
    assert codes.shape == (1000, 32) and (codes >= 0).all()
