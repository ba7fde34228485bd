"""The door: whatever autoencoder and data somebody has become two halves and an array of items, or a named error.

Nothing here imports torch or onnx before an object of theirs is at hand.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.adopt.data import read_data
    from latentwire.export.adopt.door import Halves, adopt, check_halves

__all__ = ["Halves", "adopt", "check_halves", "read_data"]

__getattr__ = lazy_names(
    __name__,
    {
        "data": ("read_data",),
        "door": (
            "Halves",
            "adopt",
            "check_halves",
        ),
    },
)
