"""Export: torch modules to a bundle of ONNX files, quantized, verified, with golden packets.

from latentwire.export import export_codec
export_codec(encoder, decoder, items, "my-codec", precisions=("fp32", "int8"))
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.errors import ExportError, ParityError, QuantizationError
    from latentwire.export.factorized import Dense, Family, export_codec
    from latentwire.export.families import Exported
    from latentwire.export.image.codec import export_image
    from latentwire.export.verify import Check, Reference, Report, verify_bundle

__all__ = [
    "Check",
    "Dense",
    "ExportError",
    "Exported",
    "Family",
    "ParityError",
    "QuantizationError",
    "Reference",
    "Report",
    "export_codec",
    "export_image",
    "verify_bundle",
]

__getattr__ = lazy_names(
    __name__,
    {
        "errors": (
            "ExportError",
            "ParityError",
            "QuantizationError",
        ),
        "factorized": (
            "Dense",
            "Family",
            "export_codec",
        ),
        "families": ("Exported",),
        "image.codec": ("export_image",),
        "verify": (
            "Check",
            "Reference",
            "Report",
            "verify_bundle",
        ),
    },
)
