"""CompressAI's models as codecs that are ONNX files: transforms, their tables, hyper networks in whole numbers."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.compressai.codec import export_compressai
    from latentwire.export.compressai.state import ARCHITECTURES

__all__ = ["ARCHITECTURES", "export_compressai"]

__getattr__ = lazy_names(__name__, {"codec": ("export_compressai",), "state": ("ARCHITECTURES",)})
