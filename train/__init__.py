"""Training of autoencoders that become codecs: data, networks, objectives, the loop, and the run folder it leaves.

    split = load_split(DataRequest("mnist/"))
    train(dense_recipe("codec", item_shape=split.train.item_shape), split, Path("run"))
    run = load_run("run")          # encoder, decoder, contract, steps: what export takes

The same from the command line: `latentwire train dense --data mnist/ --out run`.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.train.data import DataRequest, Dataset, Split, from_array, load_data, load_split, split
    from latentwire.train.dense import DenseSettings
    from latentwire.train.errors import DivergedError, RunError, SettingsError, TrainingError
    from latentwire.train.recipe import PRESETS, Recipe, dense_recipe
    from latentwire.train.run import TrainedRun, load_run, resume, train

__all__ = [
    "PRESETS",
    "DataRequest",
    "Dataset",
    "DenseSettings",
    "DivergedError",
    "Recipe",
    "RunError",
    "SettingsError",
    "Split",
    "TrainedRun",
    "TrainingError",
    "dense_recipe",
    "from_array",
    "load_data",
    "load_run",
    "load_split",
    "resume",
    "split",
    "train",
]

__getattr__ = lazy_names(
    __name__,
    {
        "data": (
            "DataRequest",
            "Dataset",
            "Split",
            "from_array",
            "load_data",
            "load_split",
            "split",
        ),
        "dense": ("DenseSettings",),
        "errors": (
            "DivergedError",
            "RunError",
            "SettingsError",
            "TrainingError",
        ),
        "recipe": (
            "PRESETS",
            "Recipe",
            "dense_recipe",
        ),
        "run": (
            "TrainedRun",
            "load_run",
            "resume",
            "train",
        ),
    },
)
