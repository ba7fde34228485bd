"""The family `dense`: vectors, five objectives, presets that are the two seed programs."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.train.dense.data import DataRequest, Dataset, Split, from_array, load_data, load_split, split
    from latentwire.train.dense.network import TORCH, DenseAutoencoder
    from latentwire.train.dense.objective_settings import OBJECTIVES, DenoisingSettings, ObjectiveSettings
    from latentwire.train.dense.recipe import PRESETS, Recipe, dense_recipe
    from latentwire.train.dense.run import TrainedRun, load_run, resume, train
    from latentwire.train.dense.settings import DenseSettings

__all__ = [
    "OBJECTIVES",
    "PRESETS",
    "TORCH",
    "DataRequest",
    "Dataset",
    "DenoisingSettings",
    "DenseAutoencoder",
    "DenseSettings",
    "ObjectiveSettings",
    "Recipe",
    "Split",
    "TrainedRun",
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
        "network": (
            "DenseAutoencoder",
            "TORCH",
        ),
        "objective_settings": (
            "DenoisingSettings",
            "OBJECTIVES",
            "ObjectiveSettings",
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
        "settings": ("DenseSettings",),
    },
)
