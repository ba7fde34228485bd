"""Where what was decoded goes: a folder, or whatever store fsspec opens.

A file appears whole or not at all, under a name that is made of the validated envelope, or of the packet's hash;
writing it a second time writes the same bytes. Of the files of one item the notes come first: whoever sees the item
sees its notes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from latentwire.runtime.atomic import sync_folder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve.errors import SinkError

SYNCED_AT_ONCE = 16


@dataclass(frozen=True)
class File:
    """One file for the sink: ``folder/name``, both safe."""

    folder: str
    name: str
    data: bytes

    @property
    def temporary(self) -> str:
        """The name until the file is whole; always the same, so that a crash leaves none behind for good."""
        return f".{self.name}.tmp"


INBOX_MARK = ("_inbox", "id")
"""Folder and name of the file that says which inbox the sink's content came from; no device's name begins like that."""


class Sink(Protocol):
    """A place for files."""

    def put(self, files: Sequence[File]) -> None:
        """Have the files stored for good when this returns, in their order; none of them is ever seen in part.

        Raises:
            SinkError: not all were; some may have been.
        """

    def has(self, place: tuple[str, str]) -> bool:
        """Whether there is a file of that folder and name.

        Raises:
            SinkError: nobody can tell.
        """

    def close(self) -> None:
        """Nothing more is put."""


class FolderSink:
    """A folder on this machine.

    Args:
        root: made if it is not there.

    Raises:
        SettingError: it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Files that are synchronised at the same time share the file system's own commits.
        self._pool = ThreadPoolExecutor(SYNCED_AT_ONCE, thread_name_prefix="sink")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise SettingError(f"expected a folder for the sink, found: {fault}") from fault

    def put(self, files: Sequence[File]) -> None:
        """Temporary names and an fsync for all files, then their names in order, then an fsync for each folder."""
        folders = {file.folder: self._root / file.folder for file in files}
        try:
            for folder in folders.values():
                self._make(folder)
            written = self._pool.map(_write, [folders[file.folder] for file in files], files)
            for temporary, target in list(written):
                os.replace(temporary, target)
            for folder in folders.values():
                sync_folder(folder)
        except OSError as fault:
            for file in files:
                with suppress(OSError):
                    (folders[file.folder] / file.temporary).unlink(missing_ok=True)
            raise SinkError(f"expected a sink that takes files, found: {fault}") from fault

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self._root)

    def has(self, place: tuple[str, str]) -> bool:
        """Whether the file is there."""
        return self._root.joinpath(*place).exists()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class StoreSink:
    """Any store that fsspec opens.

    A store whose moves are its own (SFTP, HDFS, SMB) gets a temporary name first. Where a move would be a copy, as with
    objects, one put makes an object appear whole.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        from fsspec.spec import AbstractFileSystem

        self._store, self._root = filesystem, root.rstrip("/")
        self._moves = type(filesystem).mv is not AbstractFileSystem.mv
        self._folders: set[str] = set()

    def put(self, files: Sequence[File]) -> None:
        """One file after the other."""
        try:
            for file in files:
                self._put(file)
        except Exception as fault:  # every store has exceptions of its own
            self._folders.clear()
            raise SinkError(f"expected a sink that takes files, found: {type(fault).__name__}: {fault}") from fault

    def _put(self, file: File) -> None:
        folder = f"{self._root}/{file.folder}"
        if file.folder not in self._folders:
            self._store.makedirs(folder, exist_ok=True)
            self._folders.add(file.folder)
        target = f"{folder}/{file.name}"
        if not self._moves:
            self._store.pipe_file(target, file.data)
            return
        temporary = f"{folder}/{file.temporary}"
        self._store.pipe_file(temporary, file.data)
        if self._store.exists(target):  # not every store moves onto what is there; it holds the same bytes
            self._store.rm_file(target)
        self._store.mv(temporary, target)

    def has(self, place: tuple[str, str]) -> bool:
        """Whether the store has it."""
        try:
            return bool(self._store.exists("/".join((self._root, *place))))
        except Exception as fault:  # every store has exceptions of its own
            raise SinkError(f"expected a sink that can be read, found: {type(fault).__name__}: {fault}") from fault

    def close(self) -> None:
        """Stores are closed by fsspec."""


def open_sink(place: str) -> Sink:
    """The sink of a folder's path or an fsspec URL.

    Raises:
        SettingError: fsspec does not know it, or lacks the library for it.
    """
    if "://" not in place:
        return FolderSink(Path(place))
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        filesystem, root = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError, OSError) as fault:
        raise SettingError(f"expected a folder or a URL that fsspec opens, found {place}: {fault}") from fault
    return FolderSink(Path(root)) if isinstance(filesystem, LocalFileSystem) else StoreSink(filesystem, root)


def _write(folder: Path, file: File) -> tuple[Path, Path]:
    """(Where the bytes are, on the disk; where they should be)."""
    temporary = folder / file.temporary
    with temporary.open("wb", buffering=0) as opened:
        opened.write(file.data)
        os.fsync(opened.fileno())
    return temporary, folder / file.name
