"""Codecs of a static probability model, one table row for each channel and quality: any pair of torch modules."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.factorized.codec import export_codec
    from latentwire.export.factorized.family import FactorizedFamily, FactorizedRun
    from latentwire.export.factorized.fit import COLUMNS, RAREST, ZERO, cluster, count_symbols, entropy
    from latentwire.export.factorized.layout import Dense, Family, Tensors
    from latentwire.export.factorized.reference import Reference
    from latentwire.export.factorized.scaling import Affine, Scaling
    from latentwire.export.factorized.tables import CodecTables
    from latentwire.export.factorized.torch_reference import TorchReference
    from latentwire.export.factorized.transforms import Analysis, Synthesis
    from latentwire.export.factorized.verify import read_tables

__all__ = [
    "COLUMNS",
    "RAREST",
    "ZERO",
    "Affine",
    "Analysis",
    "CodecTables",
    "Dense",
    "FactorizedFamily",
    "FactorizedRun",
    "Family",
    "Reference",
    "Scaling",
    "Synthesis",
    "Tensors",
    "TorchReference",
    "cluster",
    "count_symbols",
    "entropy",
    "export_codec",
    "read_tables",
]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": ("export_codec",),
        "family": (
            "FactorizedFamily",
            "FactorizedRun",
        ),
        "fit": (
            "COLUMNS",
            "RAREST",
            "ZERO",
            "cluster",
            "count_symbols",
            "entropy",
        ),
        "layout": (
            "Dense",
            "Family",
            "Tensors",
        ),
        "reference": ("Reference",),
        "scaling": (
            "Affine",
            "Scaling",
        ),
        "tables": ("CodecTables",),
        "torch_reference": ("TorchReference",),
        "transforms": (
            "Analysis",
            "Synthesis",
        ),
        "verify": ("read_tables",),
    },
)
