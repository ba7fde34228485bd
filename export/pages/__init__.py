"""What a codec does, shown to a person: the pages of `explore`."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.pages.explore import explore_bundle
    from latentwire.export.pages.scene import Labelled

__all__ = ["Labelled", "explore_bundle"]

__getattr__ = lazy_names(__name__, {"explore": ("explore_bundle",), "scene": ("Labelled",)})
