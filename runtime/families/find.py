"""Which family a codec belongs to on this device."""

from __future__ import annotations

from latentwire.runtime.bundle import Identity
from latentwire.runtime.families.family import RuntimeFamily
from latentwire.runtime.families.items import ITEMS
from latentwire.runtime.families.pictures import PICTURES
from latentwire.runtime.plugins import Plugins

FAMILIES = Plugins("latentwire.families.runtime", "a family")


def family_for(identity: Identity) -> RuntimeFamily:
    """The family that is registered under the name that a codec's files say, or one that its contract asks for.

    Raises:
        MissingExtraError: the family is registered, but a library that it needs is not installed.
    """
    if identity.family in FAMILIES.entries():
        family: RuntimeFamily = FAMILIES.load(identity.family)
        return family
    # A codec runs where nobody has heard of its family: its files hold all that there is to run. How its data is read
    # from files and written to them only the contract can tell then, and it knows two kinds.
    return PICTURES if identity.input.is_picture else ITEMS
