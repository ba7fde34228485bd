"""Training of autoencoders that become codecs: data, networks, objectives, the loop, and the run folder it leaves.

    split = load_split(DataRequest("mnist/"))
    train(dense_recipe("codec", item_shape=split.train.item_shape), split, Path("run"))
    run = load_run("run")          # encoder, decoder, contract, steps: what export takes

The same from the command line: `latentwire train dense --data mnist/ --out run`.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.train.dense import (
        PRESETS,
        DataRequest,
        Dataset,
        DenseSettings,
        Recipe,
        Split,
        TrainedRun,
        dense_recipe,
        from_array,
        load_data,
        load_run,
        load_split,
        resume,
        split,
        train,
    )
    from latentwire.train.errors import DivergedError, RunError, SettingsError, TrainingError
    from latentwire.train.families import TrainFamily, family_of_run, resume_run
    from latentwire.train.run import read_document, without_folders

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
    "TrainFamily",
    "TrainedRun",
    "TrainingError",
    "dense_recipe",
    "family_of_run",
    "from_array",
    "load_data",
    "load_run",
    "load_split",
    "read_document",
    "resume",
    "resume_run",
    "split",
    "train",
    "without_folders",
]

__getattr__ = lazy_names(
    __name__,
    {
        "errors": (
            "DivergedError",
            "RunError",
            "SettingsError",
            "TrainingError",
        ),
        "families": (
            "TrainFamily",
            "family_of_run",
            "resume_run",
        ),
        "run": (
            "read_document",
            "without_folders",
        ),
    },
    others=("dense", __all__),
)
