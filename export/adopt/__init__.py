"""The door: whatever autoencoder and data somebody has become two halves and an array of items, or a named error.

Nothing here imports torch or onnx before an object of theirs is at hand.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.adopt.choose import choose_items
    from latentwire.export.adopt.data import read_data
    from latentwire.export.adopt.door import Halves, adopt, to_halves
    from latentwire.export.adopt.find import find_parts
    from latentwire.export.adopt.half import Choice, Half
    from latentwire.export.adopt.outputs import Leaf, follow, leaves, parse

__all__ = [
    "Choice",
    "Half",
    "Halves",
    "Leaf",
    "adopt",
    "choose_items",
    "find_parts",
    "follow",
    "leaves",
    "parse",
    "read_data",
    "to_halves",
]

__getattr__ = lazy_names(
    __name__,
    {
        "choose": ("choose_items",),
        "data": ("read_data",),
        "door": (
            "Halves",
            "adopt",
            "to_halves",
        ),
        "find": ("find_parts",),
        "half": (
            "Choice",
            "Half",
        ),
        "outputs": (
            "Leaf",
            "follow",
            "leaves",
            "parse",
        ),
    },
)
