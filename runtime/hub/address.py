"""Where a codec stands on the hub: ``hub:owner/name``, with a revision ``hub:owner/name@REVISION``.

A revision is a commit (40 hexadecimal digits), which is one state of the repository for ever, or a branch or tag, which
is whatever it points to today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from latentwire.runtime.errors import SettingError

PREFIX = "hub:"
_REPO = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAddress:
    """A repository and a revision of it.

    Args:
        repo: ``owner/name``.
        revision: commit, branch or tag; the main branch if None.

    Raises:
        SettingError: either is of another form.
    """

    repo: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo):
            raise SettingError(
                f"expected a repository as owner/name, found {self.repo!r}: a bundle on this machine is named by its "
                "path, Encoder(path)"
            )
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise SettingError(f"expected a commit, branch or tag behind the @, found {self.revision!r}")

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """The address that a text is; the text is without pins.

        Raises:
            SettingError: it is of another form.
        """
        repo, mark, revision = text.removeprefix(PREFIX).partition("@")
        return cls(repo, revision if mark else None)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubAddress:
        """The same repository at a commit."""
        return replace(self, revision=commit)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + ("" if self.revision is None else f"@{self.revision}")


def is_hub(codec: str | Path) -> bool:
    """Whether a codec is named by its address on the hub."""
    return isinstance(codec, str) and codec.startswith(PREFIX)
