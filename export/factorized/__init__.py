"""Codecs of a static probability model, one table row for each channel and quality: any pair of torch modules."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.factorized.codec import export_codec
    from latentwire.export.factorized.family import Dense, Family
    from latentwire.export.factorized.fit import COLUMNS, RAREST, ZERO, cluster, count_symbols, entropy
    from latentwire.export.factorized.tables import CodecTables
    from latentwire.export.factorized.transforms import Analysis, Synthesis

__all__ = [
    "COLUMNS",
    "RAREST",
    "ZERO",
    "Analysis",
    "CodecTables",
    "Dense",
    "Family",
    "Synthesis",
    "cluster",
    "count_symbols",
    "entropy",
    "export_codec",
]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": ("export_codec",),
        "family": (
            "Dense",
            "Family",
        ),
        "fit": (
            "COLUMNS",
            "RAREST",
            "ZERO",
            "cluster",
            "count_symbols",
            "entropy",
        ),
        "tables": ("CodecTables",),
        "transforms": (
            "Analysis",
            "Synthesis",
        ),
    },
)
