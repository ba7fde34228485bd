"""Files to a repository on the hub, in one commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from latentwire.runtime.hub.address import HubAddress
from latentwire.runtime.hub.library import hub_errors, library


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        address: of the bundle, with its commit.
        url: of the commit, for a browser.
        files: how many the repository has of the bundle, README.md among them.
    """

    address: HubAddress
    url: str
    files: int


@dataclass(frozen=True)
class Update:
    """What a commit does.

    Attributes:
        files: by name in the repository.
        gone: names of files that are taken out; they are there.
        message: of the commit.
    """

    files: Mapping[str, bytes]
    gone: Collection[str]
    message: str


@dataclass(frozen=True)
class State:
    """A repository as it is.

    Attributes:
        address: with its commit.
        names: of its files.
    """

    address: HubAddress
    names: frozenset[str]


def state_of(repo: str, *, private: bool | None = None, token: str | None = None) -> State:
    """The repository as it is; it is made where there is none.

    Args:
        repo: ``owner/name``.
        private: whether a new one is private; what the owner has by default if None.
        token: of the hub; the library's own means if None.

    Raises:
        HubError: the hub does not answer, or refuses.
        MissingExtraError: the `hub` extra is not installed.
    """
    address = HubAddress(repo)
    with hub_errors(str(address)):
        api = library().HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        info = api.repo_info(repo)
        return State(address.at(info.sha), frozenset(entry.rfilename for entry in info.siblings or ()))


def upload(before: HubAddress, update: Update, *, token: str | None = None) -> Pushed:
    """One commit on top of another.

    Args:
        before: the repository, as it is; if somebody commits meanwhile, nothing is changed.
        update: what changes. Nothing is committed where that is nothing.
        token: of the hub; the library's own means if None.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    hub = library()
    operations = [hub.CommitOperationAdd(name, data) for name, data in sorted(update.files.items())]
    operations += [hub.CommitOperationDelete(name, is_folder=False) for name in sorted(update.gone)]
    with hub_errors(str(before)):
        api = hub.HfApi(token=token)
        done = api.create_commit(before.repo, operations, commit_message=update.message, parent_commit=before.revision)
        return Pushed(before.at(done.oid), str(done.commit_url), len(update.files))
