"""Folders for app developers: a finished bundle for phones, NPUs, browsers and small boards.

from latentwire.export.targets import package_bundle
package_bundle("photo", "apps", targets=["android", "web"])
"""

from typing import TYPE_CHECKING

from latentwire.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from latentwire.export.targets.ortformat import open_session
    from latentwire.export.targets.package import Packaged, check_targets, package_bundle
    from latentwire.export.targets.targets import TARGETS, Target

__all__ = ["TARGETS", "Packaged", "Target", "check_targets", "open_session", "package_bundle"]

__getattr__ = lazy_names(
    __name__,
    {
        "ortformat": ("open_session",),
        "package": (
            "Packaged",
            "check_targets",
            "package_bundle",
        ),
        "targets": (
            "TARGETS",
            "Target",
        ),
    },
)
