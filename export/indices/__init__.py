"""Codecs of indices into codebooks (VQ-VAE, residual VQ): coded as they are, by position and neighbours."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.indices.codec import export_indices
    from latentwire.export.indices.family import IndexFamily
    from latentwire.export.indices.verify import IndexReference

__all__ = ["IndexFamily", "IndexReference", "export_indices"]

__getattr__ = lazy_names(
    __name__,
    {
        "codec": ("export_indices",),
        "family": ("IndexFamily",),
        "verify": ("IndexReference",),
    },
)
