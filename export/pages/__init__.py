"""What a codec does, shown to a person: the pages of `explore`."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.pages.drawing import Strip, bytes_text, distortion_text, look_of, psnr, save, strips_page
    from latentwire.export.pages.explore import explore_bundle
    from latentwire.export.pages.scene import Labelled, choose

__all__ = [
    "Labelled",
    "Strip",
    "bytes_text",
    "choose",
    "distortion_text",
    "explore_bundle",
    "look_of",
    "psnr",
    "save",
    "strips_page",
]

__getattr__ = lazy_names(
    __name__,
    {
        "drawing": (
            "Strip",
            "bytes_text",
            "distortion_text",
            "look_of",
            "psnr",
            "save",
            "strips_page",
        ),
        "explore": ("explore_bundle",),
        "scene": (
            "Labelled",
            "choose",
        ),
    },
)
