"""Image family: photographs of any size, grey or colour.

    train(ImageSettings(minutes=60, steps=0), Path("photos"), Path("run"))
    network = load_image_run("run").network

The same from the command line: `latentwire train image --data photos/ --out run --minutes 60`.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.train.image.distortion import similarity
    from latentwire.train.image.network import ImageNetwork
    from latentwire.train.image.run import TrainedImageRun, load_image_run, resume, train, write_run
    from latentwire.train.image.settings import ImageSettings
    from latentwire.train.image.transforms import RANGE
    from latentwire.train.image.validate import SMALLEST_SIMILARITY, Point, rate_difference

__all__ = [
    "RANGE",
    "SMALLEST_SIMILARITY",
    "ImageNetwork",
    "ImageSettings",
    "Point",
    "TrainedImageRun",
    "load_image_run",
    "rate_difference",
    "resume",
    "similarity",
    "train",
    "write_run",
]

__getattr__ = lazy_names(
    __name__,
    {
        "distortion": ("similarity",),
        "network": ("ImageNetwork",),
        "run": (
            "TrainedImageRun",
            "load_image_run",
            "resume",
            "train",
            "write_run",
        ),
        "settings": ("ImageSettings",),
        "transforms": ("RANGE",),
        "validate": (
            "Point",
            "SMALLEST_SIMILARITY",
            "rate_difference",
        ),
    },
)
