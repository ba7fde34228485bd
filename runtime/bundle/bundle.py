"""A bundle: the folder, or the zip of it, that holds a codec. What is loaded is hashed first.

Bytes are read once, compared with the manifest's SHA-256 and handed on, so that no file can change between the check
and its use.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latentwire.runtime.bundle.identity import SCHEMA, Metadata
from latentwire.runtime.bundle.manifest import MANIFEST, FileRef, Manifest, ModelFile
from latentwire.runtime.bundle.onnxfile import read_metadata
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import BundleNotFoundError, ManifestError, TamperedError
from latentwire.runtime.strictjson import parse

__all__ = ["MANIFEST", "SCHEMA", "Bundle", "Manifest", "find_codec", "open_bundle"]

MAX_MANIFEST = 1 << 24
MAX_GOLDEN = 1 << 30


class Storage(Protocol):
    """Where a bundle's files lie."""

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file of at most ``limit`` bytes; FileNotFoundError or TamperedError otherwise."""


@dataclass(frozen=True)
class _Folder:
    path: Path

    def read(self, name: str, limit: int) -> bytes:
        with (self.path / name).open("rb") as file:
            data = file.read(limit + 1)
        return _within(name, data, limit)


class _Zip:
    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                found = [name for name in archive.namelist() if name.rpartition("/")[2] == MANIFEST]
        except (zipfile.BadZipFile, OSError) as fault:
            raise ManifestError(
                f"{path}: expected a bundle as a zip, found a file that cannot be read: {fault}"
            ) from fault
        if len(found) != 1 or found[0].count("/") > 1:
            raise ManifestError(f"{path}: expected one {MANIFEST} at the top or in one folder, found {found or 'none'}")
        self.path, self._prefix = path, found[0].removesuffix(MANIFEST)

    def read(self, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes are unpacked, whatever the archive says of itself."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._prefix + name) as member:
                data = member.read(limit + 1)
        except KeyError as fault:
            raise FileNotFoundError(f"{name} is not in {self.path}") from fault
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as fault:
            raise TamperedError(f"{self.path}: expected to unpack {name}, found {fault}: get it again") from fault
        return _within(name, data, limit)


def _within(name: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise TamperedError(f"{name}: expected at most {limit} bytes, found more: get the bundle again")
    return data


class Bundle:
    """An open bundle; see `open_bundle`.

    Attributes:
        path: the folder or zip.
        manifest: its manifest.
    """

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path = path
        self._storage = storage
        try:
            data = storage.read(MANIFEST, MAX_MANIFEST)
        except OSError as fault:
            raise BundleNotFoundError(f"expected a bundle at {path}, found no readable {MANIFEST}: {fault}") from fault
        self.manifest = Manifest.from_json(parse(data, str(path / MANIFEST)), str(path / MANIFEST))

    def read_model(self, role: str, variant: str) -> bytes:
        """Bytes of one ONNX file, their hash and their metadata checked.

        Raises:
            VariantError: the bundle has none of that role and variant.
            TamperedError: the bytes are not those that the manifest records, or belong to another codec.
        """
        entry = self.manifest.model(role, variant)
        data = self._read(FileRef(entry.file, entry.sha256), entry.size)
        if len(data) != entry.size:
            raise TamperedError(f"{entry.file}: expected {entry.size} bytes, found {len(data)}: get the bundle again")
        self._check_metadata(entry, data)
        return data

    def _check_metadata(self, entry: ModelFile, data: bytes) -> None:
        wanted = Metadata(entry.role, entry.variant, entry.precision, self.manifest.identity)
        found = read_metadata(data, entry.file)
        if found != wanted:
            raise TamperedError(f"{entry.file}: expected metadata like the manifest's, found {found}: export it again")

    def read_array(self, reference: FileRef) -> Array:
        """A golden array, its hash checked.

        Raises:
            TamperedError: the bytes are not those that the manifest records.
        """
        data = self.read_file(reference)
        try:
            array: Array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as fault:
            raise ManifestError(f"{reference.file}: expected a .npy file, found {fault}") from fault
        return array

    def read_file(self, reference: FileRef) -> bytes:
        """The bytes of a golden file, their hash checked.

        Raises:
            TamperedError: they are not those that the manifest records.
        """
        return self._read(reference, MAX_GOLDEN)

    def check_files(self) -> int:
        """Read every file that the manifest names; returns how many.

        Raises:
            TamperedError: one is not what the manifest records.
        """
        for entry in self.manifest.files:
            self.read_model(entry.role, entry.variant)
        golden = self.manifest.golden.files()
        for reference in golden:
            self.read_file(reference)
        return len(self.manifest.files) + len(golden)

    def _read(self, reference: FileRef, limit: int) -> bytes:
        try:
            data = self._storage.read(reference.file, limit)
        except OSError as fault:
            raise TamperedError(f"{self.path}: expected {reference.file}, found none: {fault}") from fault
        found = hashlib.sha256(data).hexdigest()
        if found != reference.sha256:
            raise TamperedError(
                f"{reference.file}: expected SHA-256 {reference.sha256}, found {found}: get the bundle again"
            )
        return data


def open_bundle(codec: str | Path) -> Bundle:
    """Open a bundle and check its manifest; files are checked when they are read.

    Args:
        codec: folder, zip, or name of a ready codec.

    Raises:
        BundleNotFoundError: there is none.
        ManifestError: its manifest does not follow the schema.
    """
    path = find_codec(codec)
    return Bundle(path, _Folder(path) if path.is_dir() else _Zip(path))


def find_codec(codec: str | Path) -> Path:
    """Path of a bundle or ONNX file; a text without separators that names no path is taken as a ready codec's name.

    Raises:
        BundleNotFoundError: neither is there.
    """
    path = Path(codec)
    if path.exists():
        return path
    if path.name != str(codec) or path.suffix:
        raise BundleNotFoundError(f"expected a bundle or an ONNX file at {codec}, found nothing there")
    return _ready_codec(str(codec))


def _ready_codec(name: str) -> Path:
    try:
        # By name: the ready codecs are data beside the code, not a layer below it.
        artifacts: Any = importlib.import_module("latentwire.artifacts")
    except ModuleNotFoundError as fault:
        raise BundleNotFoundError(
            f"expected a codec {name!r}, found no such path, and no ready codecs are installed: name a bundle by its "
            "path, or pip install latentwire-codecs"
        ) from fault
    try:
        path: Path = artifacts.locate(name)
    except KeyError as fault:
        there = ", ".join(artifacts.names()) or "none"
        raise BundleNotFoundError(
            f"expected a codec {name!r}, found no such path and no ready codec of that name: there are {there}"
        ) from fault
    return path
