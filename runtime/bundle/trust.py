"""Which bundle is meant, and by whom: pins by hash or codec id, and signatures.

A pin stands behind a codec's name or path: ``photo@sha256:HEX`` is that very bundle, since manifest.json holds the hash
of every file that is loaded; ``photo@codec:HEX`` is any bundle that says it is of that codec.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from latentwire.runtime.bundle.signature import SIGNATURE, check_signature
from latentwire.runtime.bundle.storage import Storage
from latentwire.runtime.errors import SettingError, TrustError

_PIN = re.compile(r"(sha256|codec):([0-9a-f]{64})")
_MARK = re.compile(r"@(?=(?:sha256|codec):)")


@dataclass(frozen=True)
class Trust:
    """What a codec has to be, beyond being whole.

    Args:
        pins: each ``sha256:HEX``, of manifest.json or a lone ONNX file, or ``codec:HEX``, the codec id; all must hold.
        signed_by: file of the public key (PEM, elliptic curve) that the bundle has to be signed with.

    Raises:
        SettingError: a pin is of another form.
    """

    pins: tuple[str, ...] = ()
    signed_by: Path | None = None

    def __post_init__(self) -> None:
        for pin in self.pins:
            if not _PIN.fullmatch(pin):
                raise SettingError(f"expected a pin as sha256:HEX or codec:HEX, of 64 small digits, found {pin!r}")

    def also(self, pins: tuple[str, ...]) -> Trust:
        """The same, with further pins."""
        return replace(self, pins=self.pins + pins)

    def check_bytes(self, data: bytes, where: str) -> None:
        """Nothing, if these bytes have the pinned hash.

        Raises:
            TrustError: they have another.
        """
        self._check("sha256", hashlib.sha256(data).hexdigest(), where)

    def check_codec(self, codec_id: str, where: str) -> None:
        """Nothing, if this is the pinned codec id.

        Raises:
            TrustError: it is another.
        """
        self._check("codec", codec_id, where)

    def check_signature(self, storage: Storage, manifest: bytes, where: str) -> None:
        """Nothing, if no signature is asked for, or every file is signed.

        Raises:
            TrustError: it is not signed with that key, or a file is not what was signed.
            MissingExtraError: the `sign` extra is not installed.
        """
        if self.signed_by is not None:
            check_signature(storage, manifest, self.signed_by, where)

    def check_lone(self, data: bytes, codec_id: str, where: str) -> None:
        """`check_bytes` and `check_codec`, for an ONNX file that stands alone and cannot be signed.

        Raises:
            TrustError: it is another, or a signature is asked for.
        """
        self.check_bytes(data, where)
        self.check_codec(codec_id, where)
        if self.signed_by is not None:
            raise TrustError(
                f"{where}: expected a signed bundle, found a lone ONNX file: name the bundle with {SIGNATURE}"
            )

    def _check(self, kind: str, found: str, where: str) -> None:
        for pin in self.pins:
            wanted = pin.removeprefix(f"{kind}:")
            if wanted not in (pin, found):
                what = "codec id" if kind == "codec" else "SHA-256"
                raise TrustError(
                    f"{where}: expected the pinned {what} {wanted}, found {found}: not the one that was meant"
                )


def split_pins(codec: str | Path) -> tuple[str | Path, tuple[str, ...]]:
    """A codec as it was named, without its pins; and these."""
    if isinstance(codec, Path) and not _MARK.search(codec.name):
        return codec, ()
    name, *pins = _MARK.split(str(codec))
    return name, tuple(pins)


def pin_of(data: bytes) -> str:
    """The pin of a bundle by the bytes of its manifest.json, or of a lone ONNX file by its own."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
