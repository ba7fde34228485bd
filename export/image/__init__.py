"""The image family: what its packets hold, how its tables are fitted, how its bundle is made and checked."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.image.codec import export_image, make_transforms

__all__ = ["export_image", "make_transforms"]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": (
            "export_image",
            "make_transforms",
        )
    },
)
