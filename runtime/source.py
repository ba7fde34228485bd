"""Where an encoder or decoder takes its models from: a bundle, or one ONNX file that stands alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from latentwire.runtime.bundle import (
    EXACT,
    MAX_MODEL,
    Bundle,
    Identity,
    Trust,
    check_model,
    find_codec,
    open_bundle,
    read_metadata,
    read_regular,
    split_pins,
)
from latentwire.runtime.errors import BundleNotFoundError, ModelError, VariantError
from latentwire.runtime.hub import is_hub
from latentwire.runtime.session import CPU, ON_CPU, Chosen, Profile, Session, told_by_name

CODER = ("pack", "unpack")
"""The integer pieces: one variant, always on the CPU, where int64 is exact and a Scan step is cheap."""


class Source(Protocol):
    """Models by role and variant."""

    @property
    def identity(self) -> Identity:
        """What all models of the codec say alike."""

    @property
    def origin(self) -> str | None:
        """Its address on the hub, with the commit; None where it lies on this machine."""

    def variant_for(self, role: str, provider: str) -> str:
        """The variant that is used on a provider, by its short name, when none is asked for."""

    def has(self, role: str, variant: str) -> bool:
        """Whether there is such a model."""

    def read(self, role: str, variant: str) -> bytes:
        """Its bytes, checked; VariantError where there is none."""


class _BundleSource:
    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.identity = bundle.manifest.identity
        self.origin = bundle.origin

    def variant_for(self, role: str, provider: str) -> str:
        manifest = self._bundle.manifest
        return manifest.provider_variants.get(provider, manifest.default_variant)[role]

    def has(self, role: str, variant: str) -> bool:
        return variant in self._bundle.manifest.variants(role)

    def read(self, role: str, variant: str) -> bytes:
        return self._bundle.read_model(role, variant)


class _FileSource:
    origin = None

    def __init__(self, path: Path, trust: Trust) -> None:
        try:
            self._data = read_regular(path, MAX_MODEL)
        except OSError as fault:
            raise BundleNotFoundError(f"expected an ONNX file at {path}, found: {fault}") from fault
        self._path, self._metadata = path, read_metadata(self._data, str(path))
        trust.check_lone(self._data, self._metadata.identity.codec_id, str(path))
        check_model(self._data, str(path))
        self.identity = self._metadata.identity

    def variant_for(self, role: str, provider: str) -> str:
        return self._metadata.variant

    def has(self, role: str, variant: str) -> bool:
        return (role, variant) == (self._metadata.role, self._metadata.variant)

    def read(self, role: str, variant: str) -> bytes:
        if not self.has(role, variant):
            raise VariantError(
                f"expected {role}.{variant}, found {self._metadata.role}.{self._metadata.variant} in {self._path}: "
                "name the bundle, or the file of that role"
            )
        return self._data


@told_by_name
def open_source(codec: str | Path | Bundle, trust: Trust | None = None) -> Source:
    """The models of a bundle (open, by path, by the name of a ready codec) or of one ONNX file.

    Args:
        codec: a text may end with pins: ``photo@sha256:HEX``.
        trust: what it has to be, beside these pins.

    Raises:
        BundleError: see `open_bundle`.
    """
    if isinstance(codec, Bundle):
        if trust is not None:
            codec.check_trust(trust)
        return _BundleSource(codec)
    name, pins = split_pins(codec)
    if is_hub(name):
        return _BundleSource(open_bundle(codec, trust))
    path = find_codec(name)
    if path.suffix == ".ort" and not path.is_dir():
        raise ModelError(
            f"{path}: expected a bundle or an ONNX file, found a model in ONNX Runtime's own format, which is not "
            "judged here: name the bundle that it was made of"
        )
    trust = (trust or Trust()).also(pins)
    if path.suffix == ".onnx" and not path.is_dir():
        return _FileSource(path, trust)
    return _BundleSource(open_bundle(path, trust))


class Sessions:
    """The sessions of one encoder or decoder, each made when it is first needed.

    Args:
        source: where models come from.
        variant: of the transforms.
        providers: for the transforms and assemblies.
        profile: session options.
    """

    def __init__(self, source: Source, variant: str, providers: Sequence[Chosen], profile: Profile) -> None:
        self._source, self._variant, self._profile = source, variant, profile
        self._providers = tuple(providers)
        self._made: dict[str, Session] = {}
        self._read: dict[str, bytes] = {}
        """Models that were looked at and have no session yet: hashing and judging one takes longer than reading it."""
        self._lock = threading.Lock()

    @property
    def accelerated(self) -> bool:
        """Whether a provider other than the CPU comes first."""
        return self._providers[0].full_name != CPU.full_name

    def holds(self, *roles: str) -> bool:
        """Whether the source has all of these roles."""
        return all(self._source.has(role, self._variant_of(role)) for role in roles)

    def read(self, role: str) -> bytes:
        """The bytes of a role's model, checked.

        Raises:
            VariantError: there is no such model.
        """
        with self._lock:
            if role not in self._read:
                self._read[role] = self._source.read(role, self._variant_of(role))
            return self._read[role]

    def __getitem__(self, role: str) -> Session:
        found = self._made.get(role)
        return found if found is not None else self._make(role)

    def _make(self, role: str) -> Session:
        variant = self._variant_of(role)
        with self._lock:
            if role not in self._made:
                providers = ON_CPU if role in CODER else self._providers
                model = self._read.pop(role, None) or self._source.read(role, variant)
                self._made[role] = Session(model, f"{role}.{variant}", providers, self._profile)
            return self._made[role]

    def _variant_of(self, role: str) -> str:
        return EXACT if role in CODER else self._variant
