"""A bundle is signed as a whole, after it was read as a whole."""

from __future__ import annotations

from pathlib import Path

from latentwire.runtime.bundle import find_codec, open_bundle, sign_folder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.hub import is_hub


def sign_bundle(bundle: str | Path, key: Path) -> Path:
    """Sign every file of a bundle; returns the path of the signature, `model.sig` in its folder.

    Args:
        bundle: its folder.
        key: private key, PEM, of the curve P-256, P-384 or P-521, without a password.

    Raises:
        SettingError: not a folder.
        BundleError: not an intact bundle.
        KeyFileError: no such key.
        MissingExtraError: the `sign` extra is not installed.
    """
    if is_hub(bundle):
        raise SettingError(f"expected a bundle's folder, found {bundle}: sign the folder, then `latentwire push` it")
    folder = find_codec(bundle)
    if not folder.is_dir():
        raise SettingError(f"expected a bundle's folder, found the file {folder}: sign the folder, then pack it")
    open_bundle(folder).check_files()
    return sign_folder(folder, key)
