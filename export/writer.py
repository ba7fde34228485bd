"""Writes a bundle: into a folder beside its place, moved there whole when it is finished."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.assemble import drop_unused
from latentwire.export.card import write_card
from latentwire.export.folders import own_folder
from latentwire.export.graph import stamp
from latentwire.export.storage import store_halves
from latentwire.runtime.bundle import (
    MANIFEST,
    FileRef,
    Golden,
    GoldenCase,
    Identity,
    Manifest,
    Metadata,
    ModelFile,
    Provenance,
    TensorSpec,
)
from latentwire.runtime.contract import Array
from latentwire.runtime.session import provider_variants

GOLDEN_QUALITIES = (0, 64, 128, 255)
TOOLS = ("latentwire", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


def provenance_of(training: Mapping[str, Any], calibration: Mapping[str, Any]) -> Provenance:
    """Where a codec comes from, with the versions of what made it: halves that are ONNX already need no torch."""
    used = [tool for tool in TOOLS if sys.modules.get(tool) is not None]
    return Provenance(training, calibration, {tool: importlib.metadata.version(tool) for tool in used})


@dataclass
class BundleWriter:
    """Context manager; the bundle exists at ``path`` once the block ends without an error."""

    path: Path
    name: str
    identity: Identity
    provenance: Provenance
    overwrite: bool = False
    default_encoder: str = "fp32"
    files: list[ModelFile] = field(default_factory=list)

    def __enter__(self) -> BundleWriter:
        """Start with an empty folder beside the target."""
        self._whole = own_folder(self.path, MANIFEST, "a bundle", overwrite=self.overwrite)
        self.folder = self._whole.__enter__()
        (self.folder / "golden").mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Move the bundle to its place, or remove what was begun."""
        self._whole.__exit__(kind, error, trace)

    def add_model(self, role: str, variant: str, precision: str, model: onnx.ModelProto) -> None:
        """Check, stamp and write one ONNX file and note it for the manifest."""
        drop_unused(model)
        store_halves(model)
        stamp(model, Metadata(role, variant, precision, self.identity).to_json())
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
        reference = self._write(f"{role}.{variant}.onnx", data)
        entry = ModelFile(
            role=role,
            variant=variant,
            precision=precision,
            file=reference.file,
            sha256=reference.sha256,
            size=len(data),
            inputs=tuple(describe(tensor) for tensor in model.graph.input),
            outputs=tuple(describe(tensor) for tensor in model.graph.output),
            ir_version=model.ir_version,
            opset=next(entry.version for entry in model.opset_import if not entry.domain),
        )
        self.files.append(entry)

    def write_golden(self, items: Array) -> None:
        """Golden cases from a packet's worth of items, and a manifest: a bundle then, parity still open."""
        self.golden = self._golden(items)
        self._write_manifest(None)

    def finish(self, parity: Mapping[str, Any]) -> None:
        """Write the parity report into the manifest, and the card."""
        write_card(self.folder / "CARD.md", self._write_manifest(parity))

    def _golden(self, items: Array) -> Golden:
        analysis = self._session("analysis.fp32")
        coder = measure.Coder(self._session("pack.exact"), self._session("unpack.exact"), self.identity.size_axes)
        decoder = self._session("decoder.fp32")
        cases = []
        for quality in GOLDEN_QUALITIES:
            latents = measure.run_known(analysis, {"input": items, "quality": np.asarray(quality, np.uint8)})
            packet = coder.packet(latents, items.shape, quality)
            stem = f"golden/q{quality:03d}"
            case = GoldenCase(
                quality,
                latents=self._write_array(f"{stem}.latents.npy", latents),
                packet=self._write(f"{stem}.packet", packet.tobytes()),
                symbols=self._write_array(f"{stem}.symbols.npy", coder.restore(packet)["symbols"]),
                output=self._write_array(f"{stem}.output.npy", decoder.run(["output"], {"packet": packet})[0]),
            )
            cases.append(case)
        return Golden(self._write_array("golden/input.npy", items), tuple(cases))

    def _write_manifest(self, parity: Mapping[str, Any] | None) -> Manifest:
        default = {"encoder": self.default_encoder, "decoder": "fp32"}
        held = {role: [entry.variant for entry in self.files if entry.role == role] for role in default}
        manifest = Manifest(
            name=self.name,
            identity=self.identity,
            provider_variants=provider_variants(held, default),
            files=tuple(self.files),
            golden=self.golden,
            provenance=self.provenance,
            parity=parity,
        )
        text = json.dumps(manifest.to_json(), indent=1)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return manifest

    def _session(self, name: str) -> Any:
        return measure.session((self.folder / f"{name}.onnx").read_bytes())

    def _write_array(self, name: str, array: Array) -> FileRef:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self._write(name, buffer.getvalue())

    def _write(self, name: str, data: bytes) -> FileRef:
        (self.folder / name).write_bytes(data)
        return FileRef(name, hashlib.sha256(data).hexdigest())


def describe(tensor: onnx.ValueInfoProto) -> TensorSpec:
    """Name, dtype and shape of a graph input or output as the manifest has them."""
    kind = tensor.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(tensor.name, dtype, tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim))
