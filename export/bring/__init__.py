"""The commands `latentwire import ...`: an autoencoder out of a program, out of ONNX files, becomes a bundle.

A factory is called, weights are put into what it makes, and `export_codec` does the rest. A recipe holds the options of
a command line. Nothing here imports torch or onnx before a command runs.
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.bring.errors import FactoryError, RecipeError, WeightsError
    from latentwire.export.bring.factory import make_model
    from latentwire.export.bring.weights import load_weights, read_state, unwrapped

__all__ = ["FactoryError", "RecipeError", "WeightsError", "load_weights", "make_model", "read_state", "unwrapped"]

__getattr__ = lazy_names(
    __name__,
    {
        "errors": (
            "FactoryError",
            "RecipeError",
            "WeightsError",
        ),
        "factory": ("make_model",),
        "weights": (
            "load_weights",
            "read_state",
            "unwrapped",
        ),
    },
)
