"""What every file of a codec says alike: the manifest and the metadata inside each ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import ManifestError
from latentwire.runtime.strictjson import Fields, Record, whole
from latentwire.runtime.wire import MAX_DIMENSIONS, PACKET_VERSION, Limits

SCHEMA = 1
ROLES = ("encoder", "decoder", "analysis", "pack", "unpack", "synthesis")
MAX_SIZE = (1 << 32) - 1
MAX_AREA = 1 << 62


@dataclass(frozen=True)
class Identity:
    """What the manifest and every ONNX file of a codec say alike."""

    codec_id: str
    """SHA-256 of the contract, 64 hexadecimal digits."""
    family: str
    input: ItemContract
    output: ItemContract
    size_axes: tuple[int, ...]
    """Axes of the input whose lengths the packet carries."""
    limits: Limits
    default_quality: int

    @property
    def codec_digest(self) -> bytes:
        """The codec id as 32 bytes."""
        return bytes.fromhex(self.codec_id)

    def to_json(self) -> dict[str, Any]:
        """The members that manifest and metadata share."""
        return {
            "codec_id": self.codec_id,
            "family": self.family,
            "packet_version": PACKET_VERSION,
            "input": self.input.to_json(),
            "output": self.output.to_json(),
            "size_axes": list(self.size_axes),
            "limits": _limits_to_json(self.limits),
            "default_quality": self.default_quality,
        }

    @classmethod
    def take(cls, fields: Fields) -> Identity:
        """Take those members out of an object; schema and packet version are checked and dropped.

        Raises:
            ManifestError: one is missing or wrong.
        """
        fields.integer("schema", SCHEMA, SCHEMA)
        fields.integer("packet_version", PACKET_VERSION, PACKET_VERSION)
        identity = cls(
            codec_id=fields.digest("codec_id"),
            family=fields.text("family"),
            input=fields.child("input", ItemContract.from_json),
            output=fields.child("output", ItemContract.from_json),
            size_axes=fields.integers("size_axes", 0, MAX_DIMENSIONS - 1),
            limits=fields.child("limits", _limits),
            default_quality=fields.integer("default_quality", 0, 255),
        )
        if len(identity.size_axes) != len(identity.limits.size):
            raise ManifestError(f"{fields.where}: expected as many limits as size_axes, found {identity.limits.size}")
        return identity


def _limits(value: object, where: str) -> Limits:
    def take(fields: Fields) -> Limits:
        size = fields.array("size", _limit)
        area = fields.integer("area", 1, MAX_AREA) if "area" in fields else None
        if not 1 <= len(size) <= MAX_DIMENSIONS:
            raise ManifestError(f"{where}.size: expected one to {MAX_DIMENSIONS} dimensions, found {len(size)}")
        return Limits(size, area=area)

    return whole(value, where, take)


def _limit(value: object, where: str) -> int | tuple[int, ...]:
    """A largest length, or a list of lengths."""
    if isinstance(value, list) and value:
        return tuple(_length(entry, where) for entry in value)
    return _length(value, where)


def _length(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        raise ManifestError(f"{where}: expected a length from 1 to {MAX_SIZE} or a list of such, found {value!r}")
    return value


def _limits_to_json(limits: Limits) -> dict[str, Any]:
    size = [list(entry) if isinstance(entry, tuple) else entry for entry in limits.size]
    return {"size": size} | ({} if limits.area is None else {"area": limits.area})


@dataclass(frozen=True)
class Metadata(Record):
    """What one ONNX file says of itself, under the metadata key ``latentwire``."""

    PLACE = "metadata"

    role: str
    variant: str
    precision: str
    identity: Identity

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        head = {"schema": SCHEMA, "role": self.role, "variant": self.variant, "precision": self.precision}
        return head | self.identity.to_json()

    @classmethod
    def take(cls, fields: Fields) -> Metadata:
        """See `Record`."""
        role = fields.text("role", within=ROLES)
        return cls(role, fields.text("variant"), fields.text("precision"), Identity.take(fields))
