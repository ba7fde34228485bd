"""What rooms, and other distributions, register by entry points: found by name, imported when it is asked for."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

from latentwire.runtime.errors import MissingExtraError, SettingError

DISTRIBUTION = "latentwire"


@dataclass(frozen=True)
class Plugins:
    """One group of entry points.

    Args:
        group: its name.
        noun: what its members are, for messages: "a family".
    """

    group: str
    noun: str

    def names(self) -> list[str]:
        """The names of all members, sorted."""
        return sorted(self.entries())

    def entries(self) -> dict[str, importlib.metadata.EntryPoint]:
        """Members by name."""
        return {entry.name: entry for entry in importlib.metadata.entry_points(group=self.group)}

    def load(self, name: str) -> Any:
        """The member of that name.

        Raises:
            SettingError: nobody registered it.
            MissingExtraError: libraries that it needs are not installed; names the extra that brings them.
        """
        entry = self.entries().get(name)
        if entry is None:
            raise SettingError(
                f"expected {self.noun} that is installed here ({', '.join(self.names()) or 'none'}), found {name!r}: "
                f"install the distribution that registers it in {self.group}"
            )
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            if is_ours(error):
                raise
            raise missing_extra(f"{self.noun} {name!r}", entry, error) from error


def is_ours(error: ModuleNotFoundError) -> bool:
    """A module of Latentwire itself is missing: that is a fault in the package, not a missing extra."""
    return (error.name or "").partition(".")[0] == DISTRIBUTION


def owner_of(entry: importlib.metadata.EntryPoint) -> str:
    """The distribution that registered it."""
    return DISTRIBUTION if entry.dist is None else entry.dist.name


def extra_of(entry: importlib.metadata.EntryPoint) -> str | None:
    """The extra named like the member, or like the layer that it belongs to; None where somebody else registered it."""
    if owner_of(entry) != DISTRIBUTION:
        return None
    extras = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return entry.name if entry.name in extras else entry.module.split(".")[1]


def missing_extra(subject: str, entry: importlib.metadata.EntryPoint, error: ModuleNotFoundError) -> MissingExtraError:
    """The error that says what brings a library: one of our extras, or the distribution that somebody else made."""
    extra = extra_of(entry)
    if extra is None:
        return MissingExtraError(f"{subject}, of {owner_of(entry)}, needs {error.name}, which is missing: install it")
    return MissingExtraError(
        f"{subject} needs the {extra} extra ({error.name} is missing): pip install '{DISTRIBUTION}[{extra}]'"
    )
