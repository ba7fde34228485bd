"""Image family: photographs of any size, grey or colour.

    train(ImageSettings(minutes=60, steps=0), Path("photos"), Path("run"))
    network = load_image_run("run").network

The same from the command line: `latentwire train image --data photos/ --out run --minutes 60`.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.train.image.distortion import DISTORTIONS, similarity
    from latentwire.train.image.integer import IntegerConv
    from latentwire.train.image.network import DEAD_ZONE, ImageNetwork
    from latentwire.train.image.photos import options_of
    from latentwire.train.image.prior import ROWS, Prior, Stage, rounded_hyper, row_scale
    from latentwire.train.image.run import TrainedImageRun, load_image_run, resume, train, write_run
    from latentwire.train.image.settings import Distortion, ImageSettings
    from latentwire.train.image.transforms import PATCH, RANGE, Block, Patches, between, folded, mirrored
    from latentwire.train.image.validate import SMALLEST_SIMILARITY, Point, rate_difference, validate
    from latentwire.train.image.weights import read_network

__all__ = [
    "DEAD_ZONE",
    "DISTORTIONS",
    "PATCH",
    "RANGE",
    "ROWS",
    "SMALLEST_SIMILARITY",
    "Block",
    "Distortion",
    "ImageNetwork",
    "ImageSettings",
    "IntegerConv",
    "Patches",
    "Point",
    "Prior",
    "Stage",
    "TrainedImageRun",
    "between",
    "folded",
    "load_image_run",
    "mirrored",
    "options_of",
    "rate_difference",
    "read_network",
    "resume",
    "rounded_hyper",
    "row_scale",
    "similarity",
    "train",
    "validate",
    "write_run",
]

__getattr__ = lazy_names(
    __name__,
    {
        "distortion": (
            "DISTORTIONS",
            "similarity",
        ),
        "integer": ("IntegerConv",),
        "network": (
            "DEAD_ZONE",
            "ImageNetwork",
        ),
        "photos": ("options_of",),
        "prior": (
            "Prior",
            "ROWS",
            "Stage",
            "rounded_hyper",
            "row_scale",
        ),
        "run": (
            "TrainedImageRun",
            "load_image_run",
            "resume",
            "train",
            "write_run",
        ),
        "settings": (
            "Distortion",
            "ImageSettings",
        ),
        "transforms": (
            "Block",
            "PATCH",
            "Patches",
            "RANGE",
            "between",
            "folded",
            "mirrored",
        ),
        "validate": (
            "Point",
            "SMALLEST_SIMILARITY",
            "rate_difference",
            "validate",
        ),
        "weights": ("read_network",),
    },
)
