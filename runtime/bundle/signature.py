"""Signatures of bundles, by OpenSSF model-signing with an elliptic key; the file `model.sig` lies in the bundle.

What is verified are copies of the bytes that were read, manifest.json among them, in a folder of our own: no file can
be exchanged between the check and its use. The models are compared with the manifest when they are loaded.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from latentwire.runtime.bundle.judge import MAX_MODEL
from latentwire.runtime.bundle.manifest import MANIFEST
from latentwire.runtime.bundle.storage import Folder, Storage, read_regular
from latentwire.runtime.errors import KeyFileError, ManifestError, MissingExtraError, TamperedError, TrustError
from latentwire.runtime.strictjson import parse

if TYPE_CHECKING:
    import tempfile

SIGNATURE = "model.sig"
MAX_SIGNATURE = 1 << 20
MAX_KEY = 1 << 16
_PART = re.compile(r"\.?[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def sign_folder(folder: Path, key: Path) -> Path:
    """Sign every file of a bundle's folder; returns the signature's path.

    Args:
        folder: the bundle's.
        key: private key, PEM, of the curve P-256, P-384 or P-521, without a password.

    Raises:
        KeyFileError: no such key.
        TrustError: a file's name is not plain.
        MissingExtraError: the `sign` extra is not installed.
    """
    library = _library()
    target = folder / SIGNATURE
    with _folder() as place:
        staged, kept = Path(place, "bundle"), Path(place, "key.pem")
        _stage(Folder(folder), None, staged, str(folder))
        kept.touch(0o600)
        kept.write_bytes(_read_key(key))
        try:
            signer = library.signing.Config().use_elliptic_key_signer(private_key=kept)
        except Exception as fault:  # the libraries of keys have no common base of errors
            raise KeyFileError(f"{key}: expected a private key of an elliptic curve, as PEM, found {fault}") from fault
        signer.set_hashing_config(_hashing(library)).sign(staged, target)
    return target


def check_signature(storage: Storage, manifest: bytes, key: Path, where: str) -> None:
    """Nothing, if a signature by this key covers every file of the bundle, as it is.

    Args:
        storage: the bundle's files.
        manifest: the bytes of manifest.json that are used from here on.
        key: the public key, PEM.
        where: the bundle, for messages.

    Raises:
        KeyFileError: no such key.
        TrustError: no signature, one by another key, or files that are not those that were signed.
        MissingExtraError: the `sign` extra is not installed.
    """
    library = _library()
    try:
        signature = storage.read(SIGNATURE, MAX_SIGNATURE)
    except OSError as fault:
        raise TrustError(f"{where}: expected a signature in {SIGNATURE}, found none: {fault}") from fault
    with _folder() as place:
        staged, kept, public = Path(place, "bundle"), Path(place, SIGNATURE), Path(place, "key.pem")
        names = _stage(storage, manifest, staged, where)
        kept.write_bytes(signature)
        public.write_bytes(_read_key(key))
        try:
            verifier = library.verifying.Config().use_elliptic_key_verifier(public_key=public)
        except Exception as fault:  # as above
            raise KeyFileError(f"{key}: expected a public key of an elliptic curve, as PEM, found {fault}") from fault
        try:
            verifier.set_hashing_config(_hashing(library)).verify(staged, kept)
        except Exception as fault:  # as above
            raise TrustError(f"{where}: expected to be signed with {key}, found otherwise: {fault}") from fault
    # A signature may name paths that it leaves out; then it says nothing of what lies there.
    signed = signed_names(signature, where)
    if signed != names:
        raise TrustError(f"{where}: expected every file to be signed, found otherwise: {sorted(signed ^ names)[:3]}")


def _hashing(library: Any) -> Any:
    return library.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _stage(storage: Storage, manifest: bytes | None, target: Path, where: str) -> set[str]:
    """Copy the bundle's files; returns their names. The signature is not one of them."""
    names = {name for name in storage.names() if name != SIGNATURE}
    for name in sorted(names):
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise TrustError(f"{where}: expected plain names of files, found {name!r}")
        try:
            data = manifest if manifest is not None and name == MANIFEST else storage.read(name, MAX_MODEL)
        except (OSError, TamperedError) as fault:
            raise TrustError(f"{where}: expected files that can be signed, found {name}: {fault}") from fault
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
    return names


def signed_names(signature: bytes, where: str) -> set[str]:
    """The files that a signature, which was verified before, is of."""
    document: Any = parse(signature, f"{where}/{SIGNATURE}")
    try:
        payload: Any = parse(base64.b64decode(document["dsseEnvelope"]["payload"]), f"{where}/{SIGNATURE}")
        return {str(entry["name"]) for entry in payload["predicate"]["resources"]}
    except (KeyError, TypeError, ValueError) as fault:
        if isinstance(fault, ManifestError):
            raise
        raise TrustError(f"{where}: expected a signature of files, found another kind: {fault!r}") from fault


def _read_key(key: Path) -> bytes:
    try:
        return read_regular(key, MAX_KEY)
    except (OSError, TamperedError) as fault:
        raise KeyFileError(f"expected a key at {key}, found none: {fault}") from fault


def _folder() -> tempfile.TemporaryDirectory[str]:
    import tempfile  # slow to import, and a device that asks for no signature never needs it

    return tempfile.TemporaryDirectory()


def _library() -> ModuleType:
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ModuleNotFoundError as fault:
        raise MissingExtraError(
            f"signatures of bundles need the sign extra ({fault.name} is missing): pip install 'latentwire[sign]'"
        ) from fault
    return model_signing
