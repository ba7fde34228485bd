"""The demo: a codec trained, exported and sent from a device process to a server process."""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.demo.demo import run_demo

__all__ = ["run_demo"]

__getattr__ = lazy_names(__name__, {"demo": ("run_demo",)})
