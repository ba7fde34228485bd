"""Where families of codecs are found.

A family's room says what it offers in one object, which it registers by an entry point of the group
`latentwire.families.export`, under the name that manifests have. So do families of other distributions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentwire.export.factorized import FactorizedFamily
from latentwire.export.family import ExportFamily
from latentwire.export.verify import Items, Report, Subject
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.plugins import Plugins

FAMILIES = Plugins("latentwire.families.export", "a family")


def family_named(name: str) -> ExportFamily:
    """The family of that name; codecs of families that nobody registered are those of `export_codec`.

    Raises:
        MissingExtraError: libraries that it needs are not installed.
    """
    if name in FAMILIES.names():
        family: ExportFamily = FAMILIES.load(name)
        return family
    return FactorizedFamily(name)


def verify_bundle(path: str | Path, items: Items, reference: Any = None) -> Report:
    """Run every check on a bundle.

    Args:
        path: the bundle.
        items: real items of its contract, [N, ...], or pictures [H, W, C]; not those it was fitted to.
        reference: the torch side, if it is at hand: a `Reference`, or the image family's network.

    Raises:
        BundleError: there is no such bundle, or it is not what its manifest says.
        InputError: the items are not what the contract says.
        ExportError: the reference is of another family, or of another codec.
    """
    bundle = open_bundle(path)
    return family_named(bundle.manifest.family).verifier(Subject(bundle), items).run(reference)
