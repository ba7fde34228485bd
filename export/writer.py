"""Writes a bundle: into a folder beside its place, moved there whole when it is finished."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from latentwire.export import measure
from latentwire.export.card import write_card
from latentwire.export.errors import ExportError
from latentwire.export.family import Family
from latentwire.export.graph.builder import stamp
from latentwire.runtime.bundle import MANIFEST, SCHEMA, Manifest
from latentwire.runtime.packet import PACKET_VERSION

GOLDEN_ITEMS = 16
GOLDEN_QUALITIES = (0, 64, 128, 255)
TOOLS = ("latentwire", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Provenance:
    """Where a codec comes from; both parts are free JSON."""

    training: Mapping[str, Any]
    calibration: Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """What every file of a bundle says about its codec."""

    name: str
    codec_id: bytes
    family: Family
    default_quality: int

    def facts(self) -> dict[str, Any]:
        """The part that manifest and ONNX metadata share."""
        contract = self.family.contract.to_json()
        return {
            "schema": SCHEMA,
            "codec_id": self.codec_id.hex(),
            "family": self.family.name,
            "packet_version": PACKET_VERSION,
            "input": contract,
            "output": contract,
            "size_axes": list(self.family.size_axes),
            "limits": {"size": list(self.family.limits)},
            "default_quality": self.default_quality,
        }


@dataclass
class BundleWriter:
    """Context manager; the bundle exists at ``path`` once the block ends without an error."""

    path: Path
    identity: Identity
    provenance: Provenance
    overwrite: bool = False
    files: list[dict[str, Any]] = field(default_factory=list)
    golden: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> BundleWriter:
        """Start with an empty folder beside the target."""
        if self.path.exists() and not (self.overwrite and (self.path / MANIFEST).is_file()):
            hint = "give --overwrite to replace it" if (self.path / MANIFEST).is_file() else "it is not a bundle"
            raise ExportError(f"{self.path} exists already: name another folder, or remove it ({hint})")
        self.folder = self.path.parent / f".{self.path.name}.writing"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "golden").mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Move the bundle to its place, or remove what was begun."""
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if self.path.exists():
            shutil.rmtree(self.path)
        self.folder.rename(self.path)

    def add_model(self, role: str, variant: str, precision: str, model: onnx.ModelProto) -> None:
        """Check, stamp and write one ONNX file and note it for the manifest."""
        stamp(model, self.identity.facts() | {"role": role, "variant": variant, "precision": precision})
        onnx.checker.check_model(model, full_check=True)
        file = f"{role}.{variant}.onnx"
        data = model.SerializeToString()
        (self.folder / file).write_bytes(data)
        entry = {
            "role": role,
            "variant": variant,
            "precision": precision,
            "file": file,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "inputs": [describe(tensor) for tensor in model.graph.input],
            "outputs": [describe(tensor) for tensor in model.graph.output],
            "ir_version": model.ir_version,
            "opset": next(entry.version for entry in model.opset_import if not entry.domain),
        }
        self.files.append(entry)

    def write_golden(self, items: Array) -> None:
        """Golden cases from the first items: packets by the pack piece, what unpack and the fp32 decoder make of them."""
        items = items[:GOLDEN_ITEMS]
        sessions = {name: measure.session(self._read(name)) for name in ("analysis.fp32", "decoder.fp32")}
        coder = measure.Coder(
            measure.session(self._read("pack.exact")),
            measure.session(self._read("unpack.exact")),
            self.identity.family.size_axes,
        )
        latents = sessions["analysis.fp32"].run(None, {"input": items})[0]
        self.golden = {"input": self._array("input", items), "latents": self._array("latents", latents), "cases": []}
        for quality in GOLDEN_QUALITIES:
            packet = coder.packet(latents, items.shape, quality)
            output = sessions["decoder.fp32"].run(None, {"packet": packet})[0]
            case = {
                "quality": quality,
                "packet": self._file(f"q{quality:03d}.packet", packet.tobytes()),
                "symbols": self._array(f"q{quality:03d}.symbols", coder.restore(packet)["symbols"]),
                "output": self._array(f"q{quality:03d}.output", output),
            }
            self.golden["cases"].append(case)
        self._write_manifest(None)

    def finish(self, parity: Mapping[str, Any]) -> None:
        """Write the parity report into the manifest, and the card."""
        write_card(self.folder / "CARD.md", self._write_manifest(parity))

    def _write_manifest(self, parity: Mapping[str, Any] | None) -> Manifest:
        document = self.identity.facts() | {
            "name": self.identity.name,
            "default_variant": {"encoder": "fp32", "decoder": "fp32"},
            "files": self.files,
            "golden": self.golden,
            "provenance": {
                "training": self.provenance.training,
                "calibration": self.provenance.calibration,
                "tools": {tool: importlib.metadata.version(tool) for tool in TOOLS},
            },
            "parity": parity,
        }
        manifest = Manifest.from_json(document)
        (self.folder / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return manifest

    def _read(self, name: str) -> bytes:
        return (self.folder / f"{name}.onnx").read_bytes()

    def _array(self, name: str, array: Array) -> dict[str, str]:
        target = self.folder / "golden" / f"{name}.npy"
        np.save(target, array, allow_pickle=False)
        return {"file": f"golden/{name}.npy", "sha256": hashlib.sha256(target.read_bytes()).hexdigest()}

    def _file(self, name: str, data: bytes) -> dict[str, str]:
        (self.folder / "golden" / name).write_bytes(data)
        return {"file": f"golden/{name}", "sha256": hashlib.sha256(data).hexdigest()}


def describe(tensor: onnx.ValueInfoProto) -> dict[str, Any]:
    """Name, dtype and shape of a graph input or output as the manifest has them."""
    kind = tensor.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return {"name": tensor.name, "dtype": dtype, "shape": [dim.dim_param or dim.dim_value for dim in kind.shape.dim]}
