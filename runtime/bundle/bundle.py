"""A bundle: the folder, or the zip of it, that holds a codec. What is loaded is hashed first.

Bytes are read once, compared with the manifest's SHA-256 and handed on, so that no file can change between the check
and its use.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.runtime.bundle.identity import SCHEMA, Metadata
from latentwire.runtime.bundle.judge import MAX_MODEL, check_model
from latentwire.runtime.bundle.manifest import MANIFEST, FileRef, Manifest, ModelFile
from latentwire.runtime.bundle.onnxfile import read_metadata
from latentwire.runtime.bundle.push import beside, check_verified, push
from latentwire.runtime.bundle.remote import Remote
from latentwire.runtime.bundle.storage import Folder, Storage, Zip
from latentwire.runtime.bundle.trust import Trust, pin_of, split_pins
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import BundleNotFoundError, ManifestError, ModelError, TamperedError
from latentwire.runtime.hub import HubAddress, Pushed, Repository, is_hub
from latentwire.runtime.npyheader import read_npy_header
from latentwire.runtime.strictjson import parse

__all__ = ["MANIFEST", "SCHEMA", "Bundle", "Manifest", "find_codec", "open_bundle"]

MAX_MANIFEST = 1 << 24
MAX_GOLDEN = 1 << 28


class Bundle:
    """An open bundle; see `open_bundle`.

    Attributes:
        path: the folder or zip; of a bundle on the hub the folder of the cache.
        manifest: its manifest.
        origin: its address on the hub, with the commit: ``hub:owner/name@COMMIT``; None where it lies on this machine.
    """

    def __init__(self, path: Path, storage: Storage, trust: Trust | None = None, origin: str | None = None) -> None:
        self.path = path
        self.origin = origin
        self._storage = storage
        try:
            self._head = storage.read(MANIFEST, MAX_MANIFEST)
        except OSError as fault:
            raise BundleNotFoundError(f"expected a bundle at {path}, found no readable {MANIFEST}: {fault}") from fault
        if trust is not None:  # before anything else is made of these bytes
            trust.check_bytes(self._head, str(path / MANIFEST))
            trust.check_signature(storage, self._head, str(path))
        self.manifest = Manifest.from_json(parse(self._head, str(path / MANIFEST)), str(path / MANIFEST))
        if trust is not None:
            trust.check_codec(self.manifest.codec_id, str(path))

    @property
    def pin(self) -> str:
        """What pins this very bundle: ``sha256:HEX`` of its manifest.json."""
        return pin_of(self._head)

    def check_trust(self, trust: Trust) -> None:
        """Nothing, if the bundle is what it has to be; `open_bundle` asks before it reads the manifest.

        Raises:
            TrustError: it is another, or not signed with the key.
        """
        trust.check_bytes(self._head, str(self.path / MANIFEST))
        trust.check_signature(self._storage, self._head, str(self.path))
        trust.check_codec(self.manifest.codec_id, str(self.path))

    def read_model(self, role: str, variant: str) -> bytes:
        """Bytes of one ONNX file; their hash, their metadata and what they ask for are checked.

        Raises:
            VariantError: the bundle has none of that role and variant.
            TamperedError: the bytes are not those that the manifest records, or belong to another codec.
            ModelError: the model asks for what no codec needs; see `check_model`.
        """
        entry = self.manifest.model(role, variant)
        if entry.size > MAX_MODEL:
            raise ModelError(f"{entry.file}: expected a model of at most {MAX_MODEL} bytes, found {entry.size}")
        data = self._read(FileRef(entry.file, entry.sha256), entry.size)
        if len(data) != entry.size:
            raise TamperedError(f"{entry.file}: expected {entry.size} bytes, found {len(data)}: get the bundle again")
        check_model(data, entry.file)
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
        return _array(self.read_file(reference), reference.file)

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

    @classmethod
    def from_hub(
        cls,
        repo: str,
        revision: str | None = None,
        *,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        trust: Trust | None = None,
    ) -> Bundle:
        """A bundle on the hub. Files are fetched when they are read, and kept in the hub library's cache.

        Args:
            repo: ``owner/name``.
            revision: commit, branch or tag; the main branch if None. Which commit it is, is logged.
            token: of the hub; the library's own means (``hf auth login``, HF_TOKEN) if None.
            cache_dir: the cache; the library's own if None.
            local_files_only: ask nothing of the network.
            trust: what the bundle has to be.

        Raises:
            SettingError: repository or revision are of another form.
            BundleNotFoundError: there is no such repository, revision, or no bundle in it.
            HubError: it is not in the cache, and the hub does not answer or refuses.
            TrustError: it is not the one that was pinned, or not signed with the key.
            MissingExtraError: the `hub` extra is not installed.
        """
        address = HubAddress(repo, revision)
        repository = Repository(
            address, MANIFEST, MAX_MANIFEST, token=token, cache=cache_dir, local_only=local_files_only
        )
        return cls(repository.folder, Remote(repository), trust, str(repository.address))

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        license: str | None = None,
        message: str | None = None,
        token: str | None = None,
    ) -> Pushed:
        """Send the bundle to the hub, in one commit: its models, golden files, manifest, card and signature.

        Files of a bundle that was there before are replaced or taken out; what else is in the repository stays.

        Args:
            repo: ``owner/name``; it is made where there is none.
            private: whether a new one is private; what the owner has by default if None.
            license: the hub's short name of a license, for the metadata of the card: ``apache-2.0``.
            message: of the commit; the codec's name and id if None.
            token: of the hub; the library's own means (``hf auth login``, HF_TOKEN) if None.

        Raises:
            SettingError: repository or license are of another form.
            ModelError: the bundle's verification failed, or there was none.
            TamperedError: a file is not what the manifest records.
            HubError: the hub does not answer, or refuses.
            MissingExtraError: the `hub` extra is not installed.
        """
        HubAddress(repo)
        check_verified(self.manifest)
        files = {MANIFEST: self._head}
        files |= {entry.file: self.read_model(entry.role, entry.variant) for entry in self.manifest.files}
        files |= {reference.file: self.read_file(reference) for reference in self.manifest.golden.files()}
        files |= beside(self._storage, files, str(self.path))
        return push(self.manifest, files, repo, private=private, license=license, message=message, token=token)

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


def _array(data: bytes, where: str) -> Array:
    """The array of an .npy file; nothing is allocated that is not there."""
    file = io.BytesIO(data)
    try:
        header = read_npy_header(file)
    except ValueError as fault:
        raise ManifestError(f"{where}: expected a .npy file, found {fault}") from fault
    values = data[file.tell() :]
    if len(values) != header.nbytes:
        raise ManifestError(
            f"{where}: expected {header.dtype} {list(header.shape)} in {header.nbytes} bytes, found {len(values)}"
        )
    array: Array = np.frombuffer(values, header.dtype).reshape(header.shape, order=header.order)
    return array


def open_bundle(codec: str | Path, trust: Trust | None = None) -> Bundle:
    """Open a bundle and check its manifest; files are checked when they are read.

    Args:
        codec: folder, zip, name of a ready codec, or address on the hub (``hub:owner/name@REVISION``); a text may end
            with pins (see `Trust`): ``photo@sha256:HEX``.
        trust: what it has to be, beside these pins.

    Raises:
        BundleNotFoundError: there is none.
        TrustError: it is not the one that was pinned, or not signed with the key.
        ManifestError: its manifest does not follow the schema.
    """
    name, pins = split_pins(codec)
    if is_hub(name):
        address = HubAddress.parse(str(name))
        return Bundle.from_hub(address.repo, address.revision, trust=(trust or Trust()).also(pins))
    path = find_codec(name)
    return Bundle(path, Folder(path) if path.is_dir() else Zip(path), (trust or Trust()).also(pins))


def find_codec(codec: str | Path) -> Path:
    """Path of a bundle or ONNX file; a text without separators that names no path is taken as a ready codec's name.

    Of a bundle on the hub all files are fetched.

    Raises:
        BundleNotFoundError: neither is there.
    """
    if is_hub(codec):
        bundle = open_bundle(codec)
        bundle.check_files()
        return bundle.path
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
