"""What `latentwire inspect` shows: packets, streams, ONNX files and bundles, field by field with offsets.

Nothing is decoded and no session is made, so that a damaged or foreign file can be looked at too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentwire.runtime.bundle import (
    METADATA_KEY,
    MODEL_FIELDS,
    Manifest,
    Metadata,
    WireField,
    find_codec,
    open_bundle,
    read_metadata,
    wire_fields,
)
from latentwire.runtime.errors import InputFileError, MagicError, RemoteError
from latentwire.runtime.files import HEAD_BYTES, ONNX_KIND, ZIP_MAGIC, kind_of
from latentwire.runtime.wire import (
    CHECKSUM_BYTES,
    PREFIX_BYTES,
    STATE_BYTES,
    TILE_BYTES,
    Damaged,
    Header,
    check_packet,
    is_packet,
    parse_header,
    parse_tile,
    read_stream,
)

SHOWN_BYTES = 16


@dataclass(frozen=True)
class Part:
    """A run of bytes and what it means."""

    offset: int
    length: int
    field: str
    hex: str
    """At most the first 16 bytes."""
    meaning: str


@dataclass(frozen=True)
class Inspection:
    """What a file is, and what it is made of."""

    kind: str
    """packet, stream, onnx or bundle; other, for what is none of these."""
    name: str
    facts: dict[str, Any]
    parts: tuple[Part, ...]
    fault: RemoteError | None = None
    """What is wrong with a packet or stream, or what the file is instead."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        error = None if self.fault is None else {"error": type(self.fault).__name__, "message": str(self.fault)}
        parts = [asdict(part) for part in self.parts]
        return {"kind": self.kind, "name": self.name, **self.facts, "parts": parts, "fault": error}

    def render(self) -> str:
        """For a person."""
        lines = [f"{self.kind} {self.name}", *(f"  {key}: {_shown(value)}" for key, value in self.facts.items())]
        if self.parts:
            width = max(len(part.hex) for part in self.parts)
            lines.append(f"  {'offset':>8} {'bytes':>8}  {'hex':<{width}}  field")
            lines += [f"  {p.offset:>8} {p.length:>8}  {p.hex:<{width}}  {p.field}: {p.meaning}" for p in self.parts]
        return "\n".join(lines)


def _shown(value: object) -> str:
    return ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)


def inspect_path(target: str | Path) -> Inspection:
    """Look at a bundle (folder, zip, name of a ready codec), an ONNX file, a packet or a stream.

    Raises:
        BundleError: there is nothing, or its manifest or metadata does not follow the schema.
        InputFileError: the file cannot be read.
    """
    path = find_codec(target)
    if path.is_dir():
        return inspect_bundle(path)
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise InputFileError(f"{path}: expected a file that can be read, found {fault}") from fault
    if data.startswith(ZIP_MAGIC):
        return inspect_bundle(path)
    return inspect_onnx(data, str(path)) if path.suffix == ".onnx" else inspect_bytes(data, str(path))


def inspect_bytes(data: bytes, name: str) -> Inspection:
    """A packet, if the bytes begin like one, or else a stream; what holds no packet is named, where its kind is known.

    Raises:
        InputFileError: there are no bytes.
    """
    if not data:
        raise InputFileError(f"{name}: expected a bundle, an ONNX file, a packet or a stream, found nothing")
    if is_packet(data):
        return inspect_packet(data, name)
    kind = kind_of(data[:HEAD_BYTES], name)
    if kind == ONNX_KIND:
        return inspect_onnx(data, name)
    found = inspect_stream(data, name)
    return found if kind is None or found.facts["packets"] else _other(data, name, kind)


def _other(data: bytes, name: str, kind: str) -> Inspection:
    """A file of something else."""
    fault = MagicError(f"{name}: expected a bundle, an ONNX file, a packet or a stream, found {kind}")
    return Inspection("other", name, {"bytes": len(data), "found": kind}, (), fault)


def inspect_packet(data: bytes, name: str) -> Inspection:
    """Every field of one packet, as far as its header can be read."""
    try:
        header = parse_header(data)
    except RemoteError as fault:
        return Inspection("packet", name, {"bytes": len(data)}, (_part(data, 0, len(data), "unread", "?"),), fault)
    facts = {
        "bytes": len(data),
        "codec": header.codec.hex(),
        "quality": header.quality,
        "size": list(header.size),
        "lanes": header.lanes,
        "body_bytes": max(0, header.length - header.body_at - CHECKSUM_BYTES),
    }
    return Inspection("packet", name, facts, tuple(_packet_parts(data, header)), _fault(data))


def _fault(data: bytes) -> RemoteError | None:
    try:
        check_packet(data)
    except RemoteError as fault:
        return fault
    return None


def _packet_parts(data: bytes, header: Header) -> Iterator[Part]:
    yield _part(data, 0, 2, "magic", '"LW"')
    yield _part(data, 2, 1, "packet version", str(data[2]))
    yield _part(data, 3, 4, "codec id", f"begins with {header.codec.hex()}")
    yield _part(data, 7, 1, "quality", str(header.quality))
    dimensions, width = len(header.size), header.width
    yield _part(data, 8, 1, "layout", f"{header.lanes} lanes, fields of {width} bytes, {dimensions} dimensions")
    for place, length in enumerate(header.size):
        yield _part(data, PREFIX_BYTES + place * width, width, f"size[{place}]", str(length))
    yield _part(data, PREFIX_BYTES + dimensions * width, width, "packet length", f"{header.length} bytes")
    yield _part(data, header.states_at, STATE_BYTES * header.lanes, "lane states", f"{header.lanes} of uint32")
    end = header.length - CHECKSUM_BYTES
    yield _part(data, header.body_at, end - header.body_at, "words and escapes", "read by the decoder")
    yield _part(data, end, CHECKSUM_BYTES, "checksum", "Adler-32 of all bytes before it")
    if len(data) > header.length:
        yield _part(data, header.length, len(data) - header.length, "trailing", "not part of the packet")


def _part(data: bytes, offset: int, length: int, field: str, meaning: str) -> Part:
    found = data[offset : offset + min(length, SHOWN_BYTES)]
    missing = "" if offset + length <= len(data) else " (bytes are missing)"
    return Part(offset, length, field, found.hex() + (".." if length > len(found) else ""), meaning + missing)


def inspect_stream(data: bytes, name: str) -> Inspection:
    """One part for each packet or damaged stretch."""
    parts, faults = [], []
    for record in read_stream(io.BytesIO(data)):
        if isinstance(record, Damaged):
            record.error.place = {"offset": record.offset}
            faults.append(record.error)
            parts.append(_part(data, record.offset, record.length, "damaged", str(record.error)))
            continue
        header = parse_header(record.data[TILE_BYTES:] if record.is_tile else record.data)
        meaning = f"codec {header.codec.hex()}, quality {header.quality}, size {list(header.size)}"
        if record.is_tile:
            tile = parse_tile(record.data)
            meaning += f" at [{tile.top}, {tile.left}] of {tile.height} x {tile.width}"
        parts.append(_part(data, record.offset, 4 + len(record.data), "tile" if record.is_tile else "packet", meaning))
    facts = {"bytes": len(data), "packets": len(parts) - len(faults), "damaged": len(faults)}
    return Inspection("stream", name, facts, tuple(parts), faults[0] if faults else None)


def inspect_onnx(data: bytes, name: str) -> Inspection:
    """The outermost fields of an ONNX file, and what it says of its codec."""
    metadata = read_metadata(data, name)
    fields = [field for field in wire_fields(data, name) if field.number in MODEL_FIELDS]
    parts = tuple(_part(data, f.offset, f.length, MODEL_FIELDS[f.number], _model_field(f, name)) for f in fields)
    return Inspection("onnx", name, {"bytes": len(data), **_metadata_facts(metadata)}, parts)


def _model_field(field: WireField, name: str) -> str:
    """Text of a small field; the graph is only counted."""
    kind = MODEL_FIELDS[field.number]
    if not isinstance(field.value, memoryview) or kind in ("producer_name", "producer_version", "domain", "doc_string"):
        return field.text
    if kind == "opset_import":
        entry = {part.number: part.text for part in wire_fields(field.value, name)}
        return f"{entry.get(1) or 'ai.onnx'} {entry.get(2, '?')}"
    if kind == "metadata_props":
        entry = {part.number: part.text for part in wire_fields(field.value, name)}
        return f"{entry.get(1)}: {'shown above' if entry.get(1) == METADATA_KEY else entry.get(2)}"
    return f"{len(field.value)} bytes"


def _metadata_facts(metadata: Metadata) -> dict[str, Any]:
    found = metadata.to_json()
    return {key: value for key, value in found.items() if key != "schema"}


def inspect_bundle(path: Path) -> Inspection:
    """The manifest's facts and files; every file's hash is checked.

    Raises:
        BundleError: the manifest does not follow the schema, or a file is not what it records.
    """
    bundle = open_bundle(path)
    checked = bundle.check_files()
    return Inspection("bundle", str(path), {**_manifest_facts(bundle.manifest), "files_intact": checked}, ())


def _manifest_facts(manifest: Manifest) -> dict[str, Any]:
    parity = manifest.parity or {}
    return {
        "codec": manifest.name,
        **manifest.identity.to_json(),
        "provider_variants": {name: dict(chosen) for name, chosen in manifest.provider_variants.items()},
        "models": [f"{m.file} ({m.precision}, {m.size} bytes, opset {m.opset})" for m in manifest.files],
        "golden_qualities": [case.quality for case in manifest.golden.cases],
        "parity_passed": parity.get("passed"),
        "tools": dict(manifest.provenance.tools),
    }
