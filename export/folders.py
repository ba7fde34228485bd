"""Folders that export writes: whole or not at all, and over nothing but one of their own kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentwire.export.errors import ExportError
from latentwire.runtime.atomic import whole_folder


@contextmanager
def own_folder(path: Path, marker: str, kind: str, *, overwrite: bool) -> Iterator[Path]:
    """A new folder that gets its name when the block ends without an error, and is removed otherwise.

    Args:
        path: of the folder.
        marker: the file by which a folder of this kind is known.
        kind: what such a folder is called, such as ``a bundle``.
        overwrite: whether one of this kind that is there may be replaced.

    Raises:
        ExportError: something is there that may not be replaced.
        InputFileError: the folder above cannot be written to.
    """
    check_free(path, marker, kind, overwrite=overwrite)
    with whole_folder(path) as folder:
        yield folder


def check_free(path: Path, marker: str, kind: str, *, overwrite: bool) -> None:
    """Nothing, if `own_folder` may write there: what takes long asks first.

    Raises:
        ExportError: something is there that may not be replaced.
    """
    ours = (path / marker).is_file()
    if path.exists() and not (overwrite and ours):
        hint = "give --overwrite to replace it" if ours else f"it is not {kind}"
        raise ExportError(f"{path} exists already: name another folder, or remove it ({hint})")
