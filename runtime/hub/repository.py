"""One commit of a repository on the hub. Files are fetched when they are asked for, into the library's cache.

A branch or tag is resolved once, by the first file that is asked for; from then on everything is of that commit. The
cache keeps a commit's files in a folder of its name, ``snapshots/COMMIT``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latentwire.runtime.errors import HubError, TamperedError
from latentwire.runtime.hub.address import HubAddress
from latentwire.runtime.hub.library import hub_errors, library

README = "README.md"
_NOT_OURS = (README, ".gitattributes")
"""Files that a repository has for the hub's sake; they are no part of a bundle."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Repository:
    """A repository at one commit.

    Args:
        address: which.
        anchor: the file that must be there; what it is fetched from is the commit.
        limit: most bytes of it.
        token: of the hub; the library's own means if None.
        cache: folder of the cache; the library's own if None.
        local_only: ask nothing of the network.

    Attributes:
        address: with the commit as revision.
        folder: where the commit's files lie once they are fetched.

    Raises:
        BundleNotFoundError: there is no such repository, revision or file.
        HubError: it is not in the cache, and the hub does not answer or refuses.
        MissingExtraError: the `hub` extra is not installed.
    """

    def __init__(
        self,
        address: HubAddress,
        anchor: str,
        limit: int,
        *,
        token: str | None = None,
        cache: str | Path | None = None,
        local_only: bool = False,
    ) -> None:
        self.address = address
        self._settings: dict[str, Any] = {"token": token}
        self._cache, self._local_only = cache, local_only
        path = self.fetch(anchor, limit)
        self.folder, commit = path.parent, path.parent.name
        if not _COMMIT.fullmatch(commit) or (address.is_pinned and commit != address.revision):
            raise HubError(f"{address}: expected files of a commit, found them in {self.folder}: empty the cache")
        self.address = address.at(commit)
        _tell(address, self.address)

    def fetch(self, name: str, limit: int) -> Path:
        """The path of a file in the cache; it is downloaded where it is not there yet.

        Raises:
            TamperedError: the hub says that it has more than ``limit`` bytes.
            BundleNotFoundError: there is no such file.
            HubError: it is not in the cache, and the hub does not answer or refuses.
        """
        hub = library()
        place = {"repo_id": self.address.repo, "filename": name, "revision": self.address.revision}
        what = f"{self.address}, {name}"
        with hub_errors(what):
            if self.address.is_pinned:  # a commit's files never change
                found = hub.try_to_load_from_cache(**place, cache_dir=self._cache)
                if isinstance(found, str):
                    return Path(found)
        self._check_size(place, limit, what)
        with hub_errors(what):
            return Path(
                hub.hf_hub_download(**place, **self._settings, cache_dir=self._cache, local_files_only=self._local_only)
            )

    def names(self) -> list[str]:
        """Names of the bundle's files, sorted, all of them fetched.

        Raises:
            HubError: they are not all in the cache, and the hub does not answer or refuses.
        """
        with hub_errors(str(self.address)):
            folder = Path(
                library().snapshot_download(
                    self.address.repo,
                    revision=self.address.revision,
                    ignore_patterns=list(_NOT_OURS),
                    cache_dir=self._cache,
                    local_files_only=self._local_only,
                    **self._settings,
                )
            )
        files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return sorted(name for name in files if name not in _NOT_OURS)

    def _check_size(self, place: dict[str, Any], limit: int, what: str) -> None:
        """Before the download: a file may fill the disk."""
        if self._local_only:
            return
        hub = library()
        try:
            size = hub.get_hf_file_metadata(hub.hf_hub_url(**place), **self._settings).size
        except Exception:  # no answer, no such file: the download says which, or the cache has it
            return
        if size is not None and size > limit:
            raise TamperedError(f"{what}: expected at most {limit} bytes, found {size}: not downloaded")


def _tell(asked: HubAddress, found: HubAddress) -> None:
    """Which commit was taken. One that was not asked for may be another tomorrow: that is worth a warning."""
    import logging  # late, like all that a codec on this machine does not need

    log = logging.getLogger("latentwire.hub")
    if asked.is_pinned:
        log.info("loading %s", found)
    else:
        log.warning("%s is %s today; by that name the same one is loaded for ever", asked, found)
