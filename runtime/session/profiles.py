"""Named sets of session options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from latentwire.runtime.errors import SettingError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Profile:
    """Session options for one kind of place; see `Profiles`."""

    threads: int
    """Threads inside one operator; 0 lets ONNX Runtime take a thread for each core."""
    spinning: bool
    """Whether idle threads burn power to answer sooner."""
    arena: bool
    """Whether freed memory is kept for the next run. Without it the process stays at what it needs."""
    unpack_threads: int
    """Packets that are unpacked at once."""


class Profiles(Enum):
    """The two named sets of options."""

    DEVICE = Profile(threads=1, spinning=False, arena=False, unpack_threads=1)
    """Lowest latency of one small item on one core, lowest power and memory."""
    SERVER = Profile(threads=0, spinning=True, arena=True, unpack_threads=4)
    """Throughput."""


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        SettingError: there is none.
    """
    names = [profile.name.lower() for profile in Profiles]
    if name not in names:
        raise SettingError(f"expected a profile of {', '.join(names)}, found {name!r}")
    return Profiles[name.upper()].value
