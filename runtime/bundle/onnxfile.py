"""The outermost fields of an ONNX file, read without a library: what it says of itself, and where its bytes are.

An ONNX file is one protobuf message, ModelProto; the field numbers are those of onnx/onnx.proto. Only the outermost
level and the few small messages named below are read; the graph is left to ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latentwire.runtime.bundle.identity import Metadata
from latentwire.runtime.errors import ManifestError
from latentwire.runtime.strictjson import parse

METADATA_KEY = "latentwire"
MODEL_FIELDS = {
    1: "ir_version",
    2: "producer_name",
    3: "producer_version",
    4: "domain",
    5: "model_version",
    6: "doc_string",
    7: "graph",
    8: "opset_import",
    14: "metadata_props",
    20: "training_info",
    25: "functions",
    26: "configuration",
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class WireField:
    """One protobuf field: where it lies, and its value as a number or as bytes."""

    offset: int
    length: int
    """Bytes of the whole field, key and length included."""
    number: int
    value: int | memoryview

    @property
    def text(self) -> str:
        """The value as text."""
        return bytes(self.value).decode("utf-8", "replace") if isinstance(self.value, memoryview) else str(self.value)


def wire_fields(data: bytes | memoryview, where: str) -> Iterator[WireField]:
    """The fields of one protobuf message in order; nothing is copied.

    Raises:
        ManifestError: the bytes are no protobuf message; names the offset.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        start = at
        key, at = _varint(view, at, where)
        kind, number = key & 7, key >> 3
        value: int | memoryview
        if kind == _VARINT:
            value, at = _varint(view, at, where)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
            if kind == _BYTES:
                length, at = _varint(view, at, where)
            if length < 0 or number == 0 or at + length > len(view):
                raise _broken(where, start)
            value, at = view[at : at + length], at + length
        yield WireField(start, at - start, number, value)


def _varint(view: memoryview, at: int, where: str) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(view):
            break
        byte = view[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise _broken(where, at)


def _broken(where: str, offset: int) -> ManifestError:
    return ManifestError(f"{where}: expected an ONNX file, found no protobuf field at offset {offset}")


def properties(data: bytes, where: str) -> dict[str, str]:
    """The file's metadata_props.

    Raises:
        ManifestError: this is no ONNX file.
    """
    found = {}
    for field in wire_fields(data, where):
        if MODEL_FIELDS.get(field.number) == "metadata_props" and isinstance(field.value, memoryview):
            entry = {part.number: part.text for part in wire_fields(field.value, where)}
            found[entry.get(1, "")] = entry.get(2, "")
    return found


def read_metadata(data: bytes, where: str) -> Metadata:
    """What the file says of its codec.

    Raises:
        ManifestError: this is no ONNX file of ours.
    """
    text = properties(data, where).get(METADATA_KEY)
    if text is None:
        raise ManifestError(f"{where}: expected metadata under the key {METADATA_KEY!r}, found none: not our file")
    place = f"{where}, metadata {METADATA_KEY!r}"
    return Metadata.from_json(parse(text, place), place)
