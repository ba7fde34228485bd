"""A bundle to the hub: its files and nothing else that lies beside them, in one commit."""

from __future__ import annotations

from collections.abc import Mapping

from latentwire.runtime.bundle.judge import MAX_MODEL
from latentwire.runtime.bundle.manifest import MANIFEST, Manifest
from latentwire.runtime.bundle.signature import MAX_SIGNATURE, SIGNATURE, signed_names
from latentwire.runtime.bundle.storage import Storage, read_regular
from latentwire.runtime.errors import ModelError
from latentwire.runtime.hub import (
    README,
    Facts,
    Pushed,
    Repository,
    State,
    Update,
    model_card,
    state_of,
    upload,
)
from latentwire.runtime.strictjson import parse

CARD = "CARD.md"
MAX_CARD = 1 << 22


def check_verified(manifest: Manifest) -> None:
    """Nothing, if the bundle passed the verification that its export ends with.

    Raises:
        ModelError: it failed, or there was none.
    """
    parity = manifest.parity or {}
    if parity.get("passed") is not True:
        checks = [check for check in parity.get("checks", []) if isinstance(check, dict)]
        failed = [str(check.get("name")) for check in checks if not check.get("passed")]
        found = f"that failed ({', '.join(failed[:3])})" if failed else "none"
        raise ModelError(
            f"{manifest.name}: expected a bundle with a verification that passed, found {found}: "
            "run `latentwire verify BUNDLE`, or export it again"
        )


def names_of(manifest: Manifest) -> list[str]:
    """Of all files that a manifest speaks of."""
    return [MANIFEST, *(entry.file for entry in manifest.files), *(ref.file for ref in manifest.golden.files())]


def beside(storage: Storage, listed: Mapping[str, bytes], where: str) -> dict[str, bytes]:
    """What belongs to a bundle though its manifest does not name it: the card, the signature, what is signed."""
    names = storage.names()
    found = {name: storage.read(name, limit) for name, limit in _LIMITS.items() if name in names}
    if SIGNATURE in found:
        signed = signed_names(found[SIGNATURE], where) & set(names) - set(listed) - set(found)
        found |= {name: storage.read(name, MAX_MODEL) for name in sorted(signed)}
    return found


_LIMITS = {CARD: MAX_CARD, SIGNATURE: MAX_SIGNATURE}


def push(
    manifest: Manifest,
    files: Mapping[str, bytes],
    repo: str,
    *,
    private: bool | None,
    license: str | None,
    message: str | None,
    token: str | None,
) -> Pushed:
    """Send files that were checked; see `Bundle.push_to_hub`."""
    terms = manifest.provenance.training.get("terms")
    precisions = list(dict.fromkeys(entry.variant for entry in manifest.files if entry.role == "encoder"))
    facts = Facts(manifest.family, precisions, str(terms) if terms else None, license)
    card = files.get(CARD, f"# {manifest.name}\n".encode()).decode("utf-8")
    whole = {**files, README: model_card(card, repo, facts).encode()}
    state = state_of(repo, private=private, token=token)
    said = message or f"{manifest.name}, codec {manifest.codec_id[:16]}"
    return upload(state.address, Update(whole, _replaced(state, token) - set(whole), said), token=token)


def _replaced(state: State, token: str | None) -> set[str]:
    """Files of the bundle that is there now; what else lies in the repository is left alone.

    Raises:
        ManifestError: what is called like a manifest is none of a bundle.
    """
    if MANIFEST not in state.names:
        return set()
    head = read_regular(Repository(state.address, MANIFEST, MAX_CARD, token=token).fetch(MANIFEST, MAX_CARD), MAX_CARD)
    before = Manifest.from_json(parse(head, f"{state.address}, {MANIFEST}"), f"{state.address}, {MANIFEST}")
    return {*names_of(before), *_LIMITS} & state.names
