"""Codecs of a static probability model, one table row for each channel and quality: any pair of torch modules."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.factorized.codec import export_codec
    from latentwire.export.factorized.family import FactorizedFamily, FactorizedRun
    from latentwire.export.factorized.fit import COLUMNS, RAREST, ZERO, cluster, count_symbols, entropy
    from latentwire.export.factorized.layout import Dense, Family
    from latentwire.export.factorized.tables import CodecTables
    from latentwire.export.factorized.transforms import Analysis, Synthesis
    from latentwire.export.factorized.verify import Reference, read_tables

__all__ = [
    "COLUMNS",
    "RAREST",
    "ZERO",
    "Analysis",
    "CodecTables",
    "Dense",
    "FactorizedFamily",
    "FactorizedRun",
    "Family",
    "Reference",
    "Synthesis",
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
        ),
        "tables": ("CodecTables",),
        "transforms": (
            "Analysis",
            "Synthesis",
        ),
        "verify": (
            "Reference",
            "read_tables",
        ),
    },
)
