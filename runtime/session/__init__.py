"""ONNX Runtime: sessions, execution providers without silent fallbacks, named profiles."""

from latentwire.runtime.session.limits import told_by_name
from latentwire.runtime.session.profiles import Profile, Profiles, profile_named
from latentwire.runtime.session.providers import (
    AUTO,
    CPU,
    ON_CPU,
    PROVIDERS,
    Asked,
    Chosen,
    alternatives,
    available,
    known_provider,
    parse_provider,
    provider_variants,
)
from latentwire.runtime.session.session import Placement, Session, scalar

__all__ = [
    "AUTO",
    "CPU",
    "ON_CPU",
    "PROVIDERS",
    "Asked",
    "Chosen",
    "Placement",
    "Profile",
    "Profiles",
    "Session",
    "alternatives",
    "available",
    "known_provider",
    "parse_provider",
    "profile_named",
    "provider_variants",
    "scalar",
    "told_by_name",
]
