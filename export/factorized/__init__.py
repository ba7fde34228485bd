"""Codecs of a static probability model, one table row for each channel and quality: any pair of torch modules."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.factorized.codec import (
        GOLDEN_ITEMS,
        GOLDEN_VALUES,
        export_codec,
        fitting,
        some_latents,
        split,
    )
    from latentwire.export.factorized.family import FactorizedFamily, FactorizedRun
    from latentwire.export.factorized.fit import COLUMNS, RAREST, ZERO, cluster, count_symbols, entropy
    from latentwire.export.factorized.found import Told, Trial, choose, contract_of, inside, scalings
    from latentwire.export.factorized.judge import make_transforms
    from latentwire.export.factorized.layout import Dense, Family, Tensors
    from latentwire.export.factorized.reference import Reference
    from latentwire.export.factorized.scaling import Affine, Scaling, as_float
    from latentwire.export.factorized.tables import CodecTables
    from latentwire.export.factorized.torch_reference import TorchReference
    from latentwire.export.factorized.transforms import Analysis, Synthesis
    from latentwire.export.factorized.verify import ItemVerifier, read_tables, unrounded

__all__ = [
    "COLUMNS",
    "GOLDEN_ITEMS",
    "GOLDEN_VALUES",
    "RAREST",
    "ZERO",
    "Affine",
    "Analysis",
    "CodecTables",
    "Dense",
    "FactorizedFamily",
    "FactorizedRun",
    "Family",
    "ItemVerifier",
    "Reference",
    "Scaling",
    "Synthesis",
    "Tensors",
    "Told",
    "TorchReference",
    "Trial",
    "as_float",
    "choose",
    "cluster",
    "contract_of",
    "count_symbols",
    "entropy",
    "export_codec",
    "fitting",
    "inside",
    "make_transforms",
    "read_tables",
    "scalings",
    "some_latents",
    "split",
    "unrounded",
]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": (
            "GOLDEN_ITEMS",
            "GOLDEN_VALUES",
            "export_codec",
            "fitting",
            "some_latents",
            "split",
        ),
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
        "found": (
            "Told",
            "Trial",
            "choose",
            "contract_of",
            "inside",
            "scalings",
        ),
        "judge": ("make_transforms",),
        "layout": (
            "Dense",
            "Family",
            "Tensors",
        ),
        "reference": ("Reference",),
        "scaling": (
            "Affine",
            "Scaling",
            "as_float",
        ),
        "tables": ("CodecTables",),
        "torch_reference": ("TorchReference",),
        "transforms": (
            "Analysis",
            "Synthesis",
        ),
        "verify": (
            "ItemVerifier",
            "read_tables",
            "unrounded",
        ),
    },
)
