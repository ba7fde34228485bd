"""A codec on disk: the bundle's folder or zip, its manifest, and what its ONNX files say of themselves."""

from latentwire.runtime.bundle.bundle import Bundle, find_codec, open_bundle
from latentwire.runtime.bundle.coder import read_cost
from latentwire.runtime.bundle.identity import Identity, Metadata
from latentwire.runtime.bundle.judge import MAX_MODEL, check_model
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
from latentwire.runtime.bundle.signature import SIGNATURE, sign_folder
from latentwire.runtime.bundle.storage import read_regular
from latentwire.runtime.bundle.trust import Trust, split_pins

__all__ = [
    "EXACT",
    "MANIFEST",
    "MAX_MODEL",
    "METADATA_KEY",
    "MODEL_FIELDS",
    "SIGNATURE",
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
    "Trust",
    "WireField",
    "check_model",
    "find_codec",
    "open_bundle",
    "read_cost",
    "read_metadata",
    "read_regular",
    "sign_folder",
    "split_pins",
    "wire_fields",
]
