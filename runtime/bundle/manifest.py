"""manifest.json as frozen records: read strictly, written in the order of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from latentwire.runtime.bundle.identity import MAX_SIZE, ROLES, SCHEMA, Identity
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import ManifestError, VariantError
from latentwire.runtime.session import CPU, PROVIDERS
from latentwire.runtime.strictjson import Fields, Record, whole
from latentwire.runtime.wire import PACKET_VERSION, Limits

MANIFEST = "manifest.json"
EXACT = "exact"
"""The one variant of the integer pieces."""
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class TensorSpec(Record):
    """An input or output of a graph; a string in ``shape`` names a length that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @classmethod
    def take(cls, fields: Fields) -> TensorSpec:
        """See `Record`."""
        return cls(fields.text("name"), fields.text("dtype"), fields.array("shape", _dimension))


def _dimension(value: object, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ManifestError(f"{where}: expected a length or a name, found {value!r}")
    return value


@dataclass(frozen=True)
class FileRef(Record):
    """A file of the bundle and the SHA-256 of its bytes."""

    file: str
    sha256: str

    @classmethod
    def take(cls, fields: Fields) -> FileRef:
        """See `Record`."""
        return cls(_path(fields, "file"), fields.digest("sha256"))


def _path(fields: Fields, key: str) -> str:
    """A relative path that stays inside the bundle on every system: plain names with slashes between them."""
    path = fields.text(key)
    if not all(_PATH_PART.fullmatch(part) for part in path.split("/")) or PurePosixPath(path).is_absolute():
        raise fields.fail(key, "a relative path of plain names, inside the bundle", path)
    return path


@dataclass(frozen=True)
class ModelFile(Record):
    """One ONNX file of the bundle."""

    role: str
    variant: str
    precision: str
    file: str
    sha256: str
    size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ir_version: int
    opset: int

    @classmethod
    def take(cls, fields: Fields) -> ModelFile:
        """See `Record`."""
        return cls(
            role=fields.text("role", within=ROLES),
            variant=fields.text("variant"),
            precision=fields.text("precision"),
            file=_path(fields, "file"),
            sha256=fields.digest("sha256"),
            size=fields.integer("size", 1, MAX_SIZE),
            inputs=fields.array("inputs", TensorSpec.from_json),
            outputs=fields.array("outputs", TensorSpec.from_json),
            ir_version=fields.integer("ir_version", 1, 1000),
            opset=fields.integer("opset", 1, 1000),
        )


@dataclass(frozen=True)
class GoldenCase(Record):
    """The golden items at one quality.

    Attributes:
        quality: 0..255.
        latents: by the reference analysis transform.
        packet: what they are packed to.
        symbols: what is coded in it.
        output: what the default decoder makes of it.
    """

    quality: int
    latents: FileRef
    packet: FileRef
    symbols: FileRef
    output: FileRef

    def files(self) -> dict[str, FileRef]:
        """All files by name."""
        return {"latents": self.latents, "packet": self.packet, "symbols": self.symbols, "output": self.output}

    @classmethod
    def take(cls, fields: Fields) -> GoldenCase:
        """See `Record`."""
        names = ("latents", "packet", "symbols", "output")
        return cls(fields.integer("quality", 0, 255), *(fields.child(name, FileRef.from_json) for name in names))


@dataclass(frozen=True)
class Golden(Record):
    """Real items, and cases made of them."""

    input: FileRef
    cases: tuple[GoldenCase, ...]

    @classmethod
    def take(cls, fields: Fields) -> Golden:
        """See `Record`."""
        golden = cls(fields.child("input", FileRef.from_json), fields.array("cases", GoldenCase.from_json))
        if not golden.cases:
            raise ManifestError(f"{fields.where}.cases: expected one or more, found none: nothing could be tested")
        return golden

    def files(self) -> list[FileRef]:
        """Every file of the golden folder."""
        return [self.input, *(ref for case in self.cases for ref in case.files().values())]


@dataclass(frozen=True)
class Provenance(Record):
    """Where the codec comes from: free JSON, and the versions of the tools that made it."""

    training: Mapping[str, Any]
    calibration: Mapping[str, Any]
    tools: Mapping[str, Any]

    @classmethod
    def take(cls, fields: Fields) -> Provenance:
        """See `Record`."""
        return cls(fields.free("training"), fields.free("calibration"), fields.free("tools"))


@dataclass(frozen=True)
class Manifest(Record):
    """All that a bundle says of itself."""

    PLACE = MANIFEST

    name: str
    identity: Identity
    provider_variants: Mapping[str, Mapping[str, str]]
    """By a provider's short name: the variants of encoder and decoder that run best there, as assembly or as pieces."""
    files: tuple[ModelFile, ...]
    golden: Golden
    provenance: Provenance
    parity: Mapping[str, Any] | None

    @property
    def codec_id(self) -> str:
        """SHA-256 of the contract, 64 hexadecimal digits."""
        return self.identity.codec_id

    @property
    def family(self) -> str:
        """Kind of data."""
        return self.identity.family

    @property
    def packet_version(self) -> int:
        """Version of the packets."""
        return PACKET_VERSION

    @property
    def input(self) -> ItemContract:
        """Contract of what the encoder takes."""
        return self.identity.input

    @property
    def output(self) -> ItemContract:
        """Contract of what the decoder returns."""
        return self.identity.output

    @property
    def size_axes(self) -> tuple[int, ...]:
        """Axes of the input whose lengths the packet carries."""
        return self.identity.size_axes

    @property
    def limits(self) -> Limits:
        """What the decoder accepts."""
        return self.identity.limits

    @property
    def default_quality(self) -> int:
        """Quality when none is asked for, 0..255."""
        return self.identity.default_quality

    @property
    def default_variant(self) -> Mapping[str, str]:
        """Variants of encoder and decoder where no provider of the table is asked for: the CPU's."""
        return self.provider_variants[CPU.name]

    def variants(self, role: str) -> tuple[str, ...]:
        """Variants of a role, in the manifest's order."""
        return tuple(model.variant for model in self.files if model.role == role)

    def model(self, role: str, variant: str) -> ModelFile:
        """The entry of one ONNX file.

        Raises:
            VariantError: there is none.
        """
        for model in self.files:
            if (model.role, model.variant) == (role, variant):
                return model
        there = ", ".join(f"{model.role}.{model.variant}" for model in self.files)
        raise VariantError(f"expected {role}.{variant} in bundle {self.name}, found only {there}: choose one of these")

    def to_json(self) -> dict[str, Any]:
        """As it stands in manifest.json."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            **self.identity.to_json(),
            "provider_variants": {name: dict(chosen) for name, chosen in self.provider_variants.items()},
            "files": [model.to_json() for model in self.files],
            "golden": self.golden.to_json(),
            "provenance": self.provenance.to_json(),
            "parity": None if self.parity is None else dict(self.parity),
        }

    @classmethod
    def take(cls, fields: Fields) -> Manifest:
        """See `Record`; variants that the table names must be there."""
        manifest = cls(
            name=fields.text("name"),
            identity=Identity.take(fields),
            provider_variants=fields.child("provider_variants", _provider_variants),
            files=fields.array("files", ModelFile.from_json),
            golden=fields.child("golden", Golden.from_json),
            provenance=fields.child("provenance", Provenance.from_json),
            parity=fields.child("parity", _object_or_none),
        )
        manifest._check()
        return manifest

    def _check(self) -> None:
        keys = [(model.role, model.variant) for model in self.files]
        if len(set(keys)) != len(keys):
            raise ManifestError(f"{MANIFEST}.files: expected each role and variant once, found {keys}")
        for provider, chosen in self.provider_variants.items():
            for pair in chosen.items():
                if pair not in keys:
                    where = f"{MANIFEST}.provider_variants.{provider}"
                    raise ManifestError(f"{where}: expected a variant in files, found {'.'.join(pair)}")


def _provider_variants(value: object, where: str) -> Mapping[str, Mapping[str, str]]:
    def take(fields: Fields) -> Mapping[str, Mapping[str, str]]:
        names = [CPU.name, *(entry.name for entry in PROVIDERS if entry is not CPU and entry.name in fields)]
        return {name: fields.child(name, _chosen_variants) for name in names}

    return whole(value, where, take)


def _chosen_variants(value: object, where: str) -> Mapping[str, str]:
    return whole(value, where, lambda fields: {role: fields.text(role) for role in ("encoder", "decoder")})


def _object_or_none(value: object, where: str) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise ManifestError(f"{where}: expected an object or null, found {value!r}")
    return value
