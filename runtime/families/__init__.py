"""Families, as commands see them: how files become what is encoded, and what is decoded becomes files."""

from latentwire.runtime.families.family import DecodeJob, EncodeJob, RuntimeFamily, check_form, refuse_others
from latentwire.runtime.families.find import FAMILIES, family_for
from latentwire.runtime.families.items import ITEMS, Items
from latentwire.runtime.families.jobs import STDIO, Decoded, Encoded, Failed, LeftOut, Outcome
from latentwire.runtime.families.pictures import PICTURES, Pictures
from latentwire.runtime.families.settings import Decoding, Encoding, Reading

__all__ = [
    "FAMILIES",
    "ITEMS",
    "PICTURES",
    "STDIO",
    "DecodeJob",
    "Decoded",
    "Decoding",
    "EncodeJob",
    "Encoded",
    "Encoding",
    "Failed",
    "Items",
    "LeftOut",
    "Outcome",
    "Pictures",
    "Reading",
    "RuntimeFamily",
    "check_form",
    "family_for",
    "refuse_others",
]
