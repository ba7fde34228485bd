"""A bundle on the hub: its files are fetched when they are read, each into the cache and from there."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.runtime.bundle.storage import read_regular
from latentwire.runtime.hub import Repository


@dataclass(frozen=True)
class Remote:
    """A bundle in a repository; see `Storage`."""

    repository: Repository

    def names(self) -> list[str]:
        """See `Storage`; all files are fetched."""
        return self.repository.names()

    def read(self, name: str, limit: int) -> bytes:
        """See `Storage`."""
        return read_regular(self.repository.fetch(name, limit), limit)
