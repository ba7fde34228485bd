"""A codec on disk: the bundle's folder or zip, its manifest, and what its ONNX files say of themselves."""

from latentwire.runtime.bundle.bundle import Bundle, find_codec, open_bundle
from latentwire.runtime.bundle.identity import Identity, Metadata
from latentwire.runtime.bundle.manifest import (
    EXACT,
    MANIFEST,
    FileRef,
    Golden,
    GoldenCase,
    Manifest,
    ModelFile,
    Provenance,
    TensorSpec,
)
from latentwire.runtime.bundle.onnxfile import METADATA_KEY, MODEL_FIELDS, WireField, read_metadata, wire_fields

__all__ = [
    "EXACT",
    "MANIFEST",
    "METADATA_KEY",
    "MODEL_FIELDS",
    "Bundle",
    "FileRef",
    "Golden",
    "GoldenCase",
    "Identity",
    "Manifest",
    "Metadata",
    "ModelFile",
    "Provenance",
    "TensorSpec",
    "WireField",
    "find_codec",
    "open_bundle",
    "read_metadata",
    "wire_fields",
]
