"""README.md and TERMS.md of a target's folder, from the templates beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import onnxruntime as ort

from latentwire.export.targets.parts import Part, role_of
from latentwire.export.targets.statuses import status_texts
from latentwire.export.targets.targets import Target
from latentwire.runtime.bundle import Manifest
from latentwire.runtime.contract import Array

TEMPLATES = Path(__file__).parent / "templates"
TYPES: Mapping[str, Mapping[str, str]] = {
    "uint8": {"kotlin": "UINT8", "swift": "uInt8", "cpp": "uint8_t", "javascript": "Uint8Array"},
    "uint16": {"kotlin": "UINT16", "swift": "uInt16", "cpp": "uint16_t", "javascript": "Uint16Array"},
    "int16": {"kotlin": "INT16", "swift": "int16", "cpp": "int16_t", "javascript": "Int16Array"},
    "float32": {"kotlin": "FLOAT", "swift": "float", "cpp": "float", "javascript": "Float32Array"},
}
"""What each language calls the dtypes of items. ONNX Runtime's Java and Objective-C interfaces lack some of 16 bits."""
WEB_RUNTIME = "1.30.0"
"""The onnxruntime-web that the tests run these files in: the newest that npm has, which may be older than their own."""
LACKING = {"android": ("uint16",), "ios": ("uint16", "int16")}


def write_readme(path: Path, target: Target, manifest: Manifest, parts: Sequence[Part], items: Array) -> None:
    """How an app loads and runs what is in the folder."""
    files = {role_of(name): name for part in reversed(parts) for name in part.models}
    values = {
        "name": manifest.name,
        "codec_id": manifest.codec_id[:16],
        "items": f"{manifest.input.dtype} {manifest.input.describe_shape()}",
        "dtype": manifest.input.dtype,
        "shape": ", ".join(map(str, items.shape)),
        "size": ", ".join(str(items.shape[axis]) for axis in manifest.size_axes),
        "quality": str(manifest.default_quality),
        "golden_packet": f"q{manifest.default_quality:03d}.packet",
        "output_shape": manifest.output.describe_shape(),
        "onnxruntime": ort.__version__,
        "onnxruntime_web": WEB_RUNTIME,
        **status_texts(),
        **files,
        **TYPES[manifest.input.dtype],
    }
    text = Template((TEMPLATES / f"{target.name}.md").read_text(encoding="utf-8")).substitute(values)
    common = Template((TEMPLATES / "common.md").read_text(encoding="utf-8")).substitute(values)
    path.write_text(f"{text}{lacking(target, manifest)}\n{common}", encoding="utf-8")


def lacking(target: Target, manifest: Manifest) -> str:
    """A warning where the language's interface has no tensors of the items' dtype."""
    if manifest.input.dtype not in LACKING.get(target.name, ()):
        return ""
    return (
        f"\nThis interface of ONNX Runtime has no tensors of {manifest.input.dtype}: use its C++ interface instead.\n"
    )


def write_terms(path: Path, manifest: Manifest) -> None:
    """The terms of use that the codec's card states, or that it states none."""
    terms = manifest.provenance.training.get("terms") or "The codec's card states no terms of use."
    path.write_text(f"# Terms of use of the codec {manifest.name}\n\n{terms}\n", encoding="utf-8")
