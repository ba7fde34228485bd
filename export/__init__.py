"""Export: autoencoders to a bundle of ONNX files, quantized, verified, with golden packets.

from latentwire.export import export_codec
export_codec((encoder, decoder), items, "my-codec", precisions=("fp32", "int8"))
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.errors import ExportError, ParityError, QuantizationError
    from latentwire.export.factorized import (
        Dense,
        FactorizedFamily,
        FactorizedRun,
        Family,
        Reference,
        Scaling,
        Tensors,
        TorchReference,
        export_codec,
    )
    from latentwire.export.families import verify_bundle
    from latentwire.export.family import Exported, ExportFamily, ExportRequest
    from latentwire.export.image import export_image
    from latentwire.export.runs import export_run
    from latentwire.export.verify import Check, Report

__all__ = [
    "Check",
    "Dense",
    "ExportError",
    "ExportFamily",
    "ExportRequest",
    "Exported",
    "FactorizedFamily",
    "FactorizedRun",
    "Family",
    "ParityError",
    "QuantizationError",
    "Reference",
    "Report",
    "Scaling",
    "Tensors",
    "TorchReference",
    "export_codec",
    "export_image",
    "export_run",
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
            "FactorizedFamily",
            "FactorizedRun",
            "Family",
            "Reference",
            "Scaling",
            "Tensors",
            "TorchReference",
            "export_codec",
        ),
        "families": ("verify_bundle",),
        "family": (
            "ExportFamily",
            "ExportRequest",
            "Exported",
        ),
        "image.codec": ("export_image",),
        "runs": ("export_run",),
        "verify": (
            "Check",
            "Report",
        ),
    },
)
